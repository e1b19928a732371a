//! `project:plan`: what the project's plan says; whether its text has changed since, what that would change, and taking it.

use clap::Args;

use super::error::Error;
use super::flags::{AnswerFlags, ListFlags};
use super::project_set_plan::{self as set_plan, Words};
use super::session::Session;
use super::table::{self, Column};
use super::talk::Talk;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::ProjectId;
use crate::domain::policy::plans::Line;
use crate::wire::Word;

#[derive(Debug, Args)]
pub struct ProjectPlan {
    /// Take the plan's present text, where it has changed since the project was put under it (operators)
    #[arg(long)]
    pub renew: bool,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    #[command(flatten)]
    pub list: ListFlags,
}

pub fn run(command: &ProjectPlan, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let plan = session.ask(&project, |client| client.plan(&project))?;
    if command.renew {
        let Some(newer) = plan.newer else {
            talk.say(&format!("The project {project} is under the present text of the {} plan already.", plan.title));
            return Ok(());
        };
        talk.say(&format!("The text of the {} plan has changed:", plan.title));
        let question = format!("Take the present text for {project}?");
        let done = format!("The project {project} is under the present text of the {} plan.", plan.title);
        return set_plan::confirmed((&project, plan.id), newer, Words { question, done }, (answer, session), talk);
    }
    talk.say(&format!("The project {project} is under the {} plan.", plan.title));
    let rows: Vec<Row> = plan
        .rules
        .into_iter()
        .flat_map(|(kind, lines)| lines.into_iter().map(move |line| (kind.clone(), line)))
        .collect();
    table::write(&rows, COLUMNS, &["type", "title", "text"], &command.list, talk)?;
    if let Some(newer) = plan.newer {
        talk.say("There is a newer text of this plan. It would change:");
        set_plan::show(&newer, talk);
        talk.say(&format!("An operator takes it with `{} project:plan --renew -p {project}`.", talk.program.clone()));
    }
    Ok(())
}

type Row = (Word<EnvironmentKind>, Line);

const COLUMNS: &[Column<Row>] = &[
    Column { key: "type", header: "Type", value: |(kind, _), _| kind.to_string().into() },
    Column { key: "title", header: "What", value: |(_, line), _| line.title.clone().into() },
    Column { key: "text", header: "As it is", value: |(_, line), _| line.text.clone().into() },
];
