//! The command line: answers on stdout, progress, questions and warnings on stderr; a file per command.
//!
//! **Invariant:** knows only `wire` and `domain`. Nothing here decides who may do what: the server's refusals are shown
//! as they are. A destructive command never runs unasked (R33).

mod accounts;
mod activity_cancel;
mod activity_get;
mod activity_list;
mod activity_log;
mod arguments;
mod audit;
mod backup_delete;
mod backup_get;
mod confirm;
mod dates;
mod db_dump;
mod drills;
mod environment_list;
mod environment_merge;
mod error;
mod first;
mod flags;
mod integrations;
mod project_list;
mod project_plan;
mod project_set_plan;
mod properties;
mod relocation;
mod removal;
mod removed;
mod schedule;
mod session;
mod settings;
mod snapshot_create;
mod snapshot_protect;
mod snapshot_restore;
mod snapshot_retention;
mod snapshots;
mod storage;
mod table;
mod talk;
mod tickets;
mod users;
mod wait;

use std::ffi::OsString;

pub use arguments::Arguments;
pub use error::Error;
pub use settings::Variables;
pub use talk::{Interrupt, Talk, Terminal};

use arguments::Command;
use session::Session;

/// Runs one command line, its first word the program's name; the answer is the process's exit code:
///
/// | code | meaning |
/// |---|---|
/// | 0 | done |
/// | 1 | the activity failed, was refused or declined; the list is empty |
/// | 2 | the command line can't be understood |
/// | 3 | not logged in |
/// | 4 | something is missing in the configuration |
/// | 5 | the server can't be reached |
/// | 6 | not permitted |
/// | 9 | no such project |
/// | 130 | interrupted |
pub fn run(words: impl IntoIterator<Item = OsString>, variables: &Variables, talk: &mut Talk<'_>) -> u8 {
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(error) => return talk.usage(&error),
    };
    talk.program.clone_from(&arguments.program);
    match dispatch(arguments, variables, talk) {
        Ok(()) => 0,
        Err(error) => {
            talk.fail(&error);
            error.code()
        }
    }
}

fn dispatch(arguments: Arguments, variables: &Variables, talk: &mut Talk<'_>) -> Result<(), Error> {
    let session = Session::open(variables)?;
    let answer = arguments.answer;
    match arguments.command {
        Command::SnapshotCreate(command) => snapshot_create::run(&command, &answer, &session, talk),
        Command::Snapshots(command) => snapshots::run(&command, &session, talk),
        Command::SnapshotRestore(command) => snapshot_restore::run(&command, &answer, &session, talk),
        Command::BackupGet(command) => backup_get::run(&command, &session, talk),
        Command::BackupDelete(command) => backup_delete::delete(&command, &answer, &session, talk),
        Command::SnapshotUndelete(command) => backup_delete::undelete(&command, &session, talk),
        Command::SnapshotProtect(command) => snapshot_protect::protect(&command, &session, talk),
        Command::SnapshotUnprotect(command) => snapshot_protect::unprotect(&command, &session, talk),
        Command::SnapshotRetention(command) => snapshot_retention::run(&command, &session, talk),
        Command::ProjectPlan(command) => project_plan::run(&command, &answer, &session, talk),
        Command::ProjectSetPlan(command) => project_set_plan::run(&command, &answer, &session, talk),
        Command::EnvironmentDelete(command) => removal::environment(&command, &answer, &session, talk),
        Command::ProjectDelete(command) => removal::project(&command, &answer, &session, talk),
        Command::ProjectPurge(command) => removed::purge(&command, &answer, &session, talk),
        Command::ProjectMove(command) => relocation::run(&command, &answer, &session, talk),
        Command::DbDump(command) => db_dump::run(&command, &answer, &session, talk),
        Command::DrillRun(command) => drills::run(&command, &session, talk),
        Command::DrillList(command) => drills::list(&command, &session, talk),
        Command::DrillGet(command) => drills::get(&command, &session, talk),
        Command::ActivityList(command) => activity_list::run(&command, &session, talk),
        Command::ActivityGet(command) => activity_get::run(&command, &session, talk),
        Command::ActivityLog(command) => activity_log::run(&command, &session, talk),
        Command::ActivityCancel(command) => activity_cancel::run(&command, &session, talk),
        Command::Ticket(command) => tickets::run(&command, &answer, &session, talk),
        Command::ProjectList(command) => project_list::run(&command, &session, talk),
        Command::EnvironmentMerge(command) => environment_merge::run(&command, &answer, &session, talk),
        Command::StorageList(command) => storage::list(&command, &session, talk),
        Command::StorageSet(command) => storage::set(&command, &answer, &session, talk),
        Command::EnvironmentList(command) => environment_list::run(&command, &session, talk),
        Command::UserList(command) => users::list(&command, &session, talk),
        Command::UserAdd(command) => users::add(&command, &session, talk),
        Command::UserUpdate(command) => users::update(&command, &answer, &session, talk),
        Command::UserDelete(command) => users::delete(&command, &answer, &session, talk),
        Command::InvitationList(command) => users::invitations(&command, &session, talk),
        Command::InvitationDelete(command) => users::revoke(&command, &session, talk),
        Command::AccountList(command) => accounts::list(&command, &session, talk),
        Command::AccountClose(command) => accounts::close(&command, &answer, &session, talk),
        Command::AccountOpen(command) => accounts::open(&command, &session, talk),
        Command::AccountGrant(command) => accounts::grant(&command, &session, talk),
        Command::AccountWithdraw(command) => accounts::withdraw(&command, &session, talk),
        Command::Audit(command) => audit::run(&command, &session, talk),
        Command::IntegrationList(command) => integrations::list(&command, &session, talk),
        Command::IntegrationAdd(command) => integrations::add(&command, &session, talk),
        Command::IntegrationUpdate(command) => integrations::update(&command, &session, talk),
        Command::IntegrationDelete(command) => integrations::delete(&command, &answer, &session, talk),
        Command::IntegrationValidate(command) => integrations::validate(&command, &session, talk),
        Command::IntegrationActivities(command) => integrations::activities(&command, &session, talk),
        Command::ScheduleList(command) => schedule::list(&command, &session, talk),
        Command::ScheduleAdd(command) => schedule::add(&command, &session, talk),
        Command::ScheduleUpdate(command) => schedule::update(&command, &session, talk),
        Command::ScheduleDelete(command) => schedule::delete(&command, &answer, &session, talk),
    }
}
