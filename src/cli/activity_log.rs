//! `activity:log`: on stdout, followed while the activity runs.

use std::ops::ControlFlow;

use super::arguments::ActivityLog;
use super::error::Error;
use super::session::Session;
use super::table;
use super::talk::Talk;
use crate::wire::LogItem;

pub fn run(command: &ActivityLog, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, id) = session.activity(&command.place, command.id.as_ref())?;
    if command.refresh == 0 {
        let items = session.ask(&project, |client| client.log(&project, &id, 0))?;
        let lines = items.iter().filter(|item| !item.seal);
        return lines.map(|item| line(item, command.timestamps)).try_for_each(|line| talk.answer(&line));
    }
    let mut broken = None;
    session.ask(&project, |client| {
        client.follow_log(&project, &id, |item| {
            match talk.answer(&line(item, command.timestamps)).and_then(|()| Ok(talk.out.flush()?)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
    })?;
    broken.map_or(Ok(()), Err)
}

fn line(item: &LogItem, timestamps: bool) -> String {
    let text = table::text(&item.message().into());
    match item.data.timestamp.filter(|_| timestamps) {
        Some(at) => format!("[{}] {text}", at.table()),
        None => text,
    }
}
