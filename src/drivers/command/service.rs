//! A program of the operator's as a service: anything that has no driver of ours.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contract::{Name, Program, never};
use crate::domain::Bytes;
use crate::domain::environment::CommandLine;
use crate::domain::manifest::Facts;
use crate::drivers::Error;
use crate::drivers::service::{self, Position, Service, Tested, View, compare};

#[derive(Debug)]
pub struct Named {
    program: Program,
    kept: Mutex<Kept>,
}

/// What was asked for before a hold, so that it need not be asked inside it.
#[derive(Debug, Default)]
struct Kept {
    tested: Option<Tested>,
    ready: Option<Opening>,
}

/// Where a load goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    new: Name,
    old: Name,
}

/// Where the live data goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    old: Name,
}

impl Named {
    pub fn new(command: CommandLine) -> Self {
        Self { program: Program(command), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tested(&self) -> Result<Tested, Error> {
        let known = self.kept().tested.clone();
        known.map_or_else(|| self.test(), Ok)
    }
}

impl Service for Named {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn test(&self) -> Result<Tested, Error> {
        let tested = self.program.test()?;
        // It is needed in the hold: that it answers at all is found out before.
        self.program.position()?;
        self.kept().tested = Some(tested.clone());
        Ok(tested)
    }

    fn get_ready(&self, scratch: &Path, cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        // Before, so that the same name is not discarded after it was made anew.
        drop(self.kept().ready.take());
        let opening = Opening { program: self.program.clone(), view: Name::view(scratch) };
        self.program.ready(&opening.view, cancelled)?;
        self.tested()?;
        self.kept().ready = Some(opening);
        self.position().map(drop)
    }

    fn position(&self) -> Result<Position, Error> {
        self.program.position()
    }

    /// Without [`Service::get_ready`] the view is made ready here, which takes as long as it takes.
    fn open_view(&self, within: Duration) -> Result<Box<dyn View>, Error> {
        let ready = self.kept().ready.take();
        let opening = match ready {
            Some(ready) => ready,
            None => {
                let opening = Opening { program: self.program.clone(), view: Name::random_view() };
                self.program.ready(&opening.view, &never)?;
                opening
            }
        };
        let tested = self.tested()?;
        let position = self.program.open(&opening.view, within)?;
        Ok(Box::new(Opened { opening, position, tested }))
    }

    fn contents(&self, within: Duration) -> Result<Facts, Error> {
        self.program.facts_of_live(within)
    }

    fn beside(&self, scratch: &Path) -> Result<service::Beside, Error> {
        let (new, old) = Name::swap(scratch);
        Ok(service::Beside::Command(Beside { new, old }))
    }

    fn load_beside(&self, scratch: &Path, dump: &mut dyn Read) -> Result<service::Beside, Error> {
        let (new, old) = Name::swap(scratch);
        self.program.load(&new, dump)?;
        Ok(service::Beside::Command(Beside { new, old }))
    }

    fn check(&self, beside: &service::Beside, expected: &Facts) -> Result<(), Error> {
        compare(&self.program.facts(&beside.command()?.new)?, expected)
    }

    fn prepare(&self, beside: &service::Beside) -> Result<service::Aside, Error> {
        let Beside { new, old } = beside.command()?;
        self.program.prepare(new, old)?;
        Ok(service::Aside::Command(Aside { old: old.clone() }))
    }

    fn commit(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        self.program.commit(&beside.command()?.new, &aside.command()?.old)
    }

    fn roll_back(&self, beside: &service::Beside, aside: &service::Aside) -> Result<(), Error> {
        self.program.roll_back(&beside.command()?.new, &aside.command()?.old)
    }

    /// Both, also when nothing is known to be aside: a `prepare` that failed may have begun it.
    fn discard(&self, beside: &service::Beside, _aside: Option<&service::Aside>) -> Result<(), Error> {
        let Beside { new, old } = beside.command()?;
        self.program.discard(new)?;
        self.program.discard(old)
    }

    fn dump_aside(&self, aside: &service::Aside, out: &mut dyn Write) -> Result<(), Error> {
        self.program.dump(&aside.command()?.old, out, &never).map(drop)
    }

    fn aside_facts(&self, aside: &service::Aside) -> Result<Facts, Error> {
        self.program.facts(&aside.command()?.old)
    }

    fn provision(&self) -> Result<(), Error> {
        self.program.provision()
    }

    fn remove(&self) -> Result<(), Error> {
        self.program.remove()
    }
}

/// A view that was made ready. Discarded when it is dropped, on a thread: whoever drops it may be in a hold (R17).
#[derive(Debug)]
struct Opening {
    program: Program,
    view: Name,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let (program, view) = (self.program.clone(), self.view.clone());
        let left = view.clone();
        let discard = move || {
            if let Err(error) = program.discard(&view) {
                tracing::warn!(view = view.as_str(), %error, "a view of a command's service was left behind");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("discard".to_owned()).spawn(discard) {
            tracing::warn!(view = left.as_str(), %error, "a view of a command's service was left behind");
        }
    }
}

struct Opened {
    opening: Opening,
    position: Position,
    tested: Tested,
}

impl View for Opened {
    fn position(&self) -> &Position {
        &self.position
    }

    fn version(&self) -> &str {
        &self.tested.version
    }

    fn size(&self) -> Bytes {
        self.tested.size
    }

    fn limits(&self) -> Vec<String> {
        self.tested.limits.clone()
    }

    /// It is the program's own affair.
    fn settle(&mut self, _scratch: &Path, _cancelled: &dyn Fn() -> bool) -> Result<(), Error> {
        Ok(())
    }

    fn facts(&mut self) -> Result<Facts, Error> {
        self.opening.program.facts(&self.opening.view)
    }

    fn dump(&mut self, _scratch: &Path, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> Result<u64, Error> {
        self.opening.program.dump(&self.opening.view, out, cancelled)
    }
}
