//! `ticket:…`: restores that support staff does (R27, R28): filing, the queue, and working on them.

use std::io::Error as Failed;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::{AnswerFlags, ListFlags, PlaceFlags, PropertyFlags, WaitFlags};
use super::session::{Place, Session};
use super::table::{self, Column, Format};
use super::talk::Talk;
use super::{properties, snapshot_restore, wait};
use crate::domain::PartName;
use crate::domain::ids::{ProjectId, RegionId, SnapshotName, TicketId};
use crate::domain::ticket::{TicketAct, TicketState};
use crate::domain::time::span;
use crate::wire::client::TicketQuery;
use crate::wire::{RestoreRequest, Ticket, TicketRequest};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List restore tickets, oldest first: of every project that you may see
    #[command(name = "ticket:list", visible_aliases = ["tickets"], after_help = LIST)]
    List(List),
    /// Show a ticket with its history, and what its restore would do now
    #[command(name = "ticket:get")]
    Get(Get),
    /// Ask support staff for a restore that the project's region does not let you do yourself
    #[command(name = "ticket:create", after_help = CREATE)]
    Create(Create),
    /// Write to a ticket
    #[command(name = "ticket:comment")]
    Comment(Act),
    /// Support: begin to work on a ticket
    #[command(name = "ticket:claim")]
    Claim(Act),
    /// Support: hand a ticket back to the queue
    #[command(name = "ticket:release")]
    Release(Act),
    /// Support: decline a ticket, with the reason
    #[command(name = "ticket:decline")]
    Decline(Act),
    /// Support: restore exactly what the ticket asks for
    #[command(name = "ticket:run")]
    Run(Run),
    /// Take one's ticket back
    #[command(name = "ticket:withdraw")]
    Withdraw(Act),
    /// Open a ticket again that is over, with the reason
    #[command(name = "ticket:reopen")]
    Reopen(Act),
    /// Print what was done with a ticket, when, by whom, and with what result, as JSON
    #[command(name = "ticket:evidence")]
    Evidence(Evidence),
}

const LIST: &str = "\
Columns: id, created, age, state, project, restore, requester, claimer (the defaults), reason,
region, run, updated

Examples:
  stillpoint ticket:list
  stillpoint ticket:list --mine --state in_progress --format json";

const CREATE: &str = "\
On success stdout has one line, `Ticket: 7c0d…`; all else is on stderr.

Example:
  stillpoint ticket:create -e main --target staging --reason 'rehearse the update' 2ca4d90639f706283fee";

#[derive(Debug, Args)]
pub struct List {
    /// Only of this project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    /// Only in this state (open, in_progress, restored, declined, withdrawn); repeatable; unfinished ones when left out
    #[arg(long, value_delimiter = ',', value_name = "STATE", conflicts_with = "all")]
    pub state: Vec<TicketState>,
    /// In every state
    #[arg(short, long)]
    pub all: bool,
    /// Only those that you filed or work on
    #[arg(long)]
    pub mine: bool,
    /// Only of projects in this region
    #[arg(long, value_name = "ID")]
    pub region: Option<RegionId>,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct Which {
    /// Ticket
    #[arg(value_name = "TICKET")]
    pub id: TicketId,
    /// Project; found by the ticket when left out
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub property: PropertyFlags,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Snapshot; the newest when left out
    #[arg(value_name = "NAME")]
    pub id: Option<SnapshotName>,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Environment to restore into
    #[arg(long, value_name = "ENVIRONMENT")]
    pub target: Option<String>,
    /// Parent of a target that is created for it
    #[arg(long, value_name = "ENVIRONMENT")]
    pub branch_from: Option<String>,
    /// Only these parts, as with snapshot:restore
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<PartName>,
    /// Why; support staff reads it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// `json`: the whole ticket on stdout
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Act {
    #[command(flatten)]
    pub which: Which,
    /// The comment, or the reason
    #[arg(value_name = "TEXT")]
    pub text: Option<String>,
    /// `json`: the whole ticket on stdout
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct Evidence {
    #[command(flatten)]
    pub which: Which,
}

pub fn run(command: &Command, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    match command {
        Command::List(command) => list(command, session, talk),
        Command::Get(command) => {
            let ticket = get(&command.which, session)?;
            properties::show(serde_json::to_value(ticket).map_err(Failed::from)?, &command.property, talk)
        }
        Command::Create(command) => create(command, answer, session, talk),
        Command::Comment(command) => act(command, TicketAct::Comment, session, talk),
        Command::Claim(command) => act(command, TicketAct::Claim, session, talk),
        Command::Release(command) => act(command, TicketAct::Release, session, talk),
        Command::Decline(command) => act(command, TicketAct::Decline, session, talk),
        Command::Withdraw(command) => act(command, TicketAct::Withdraw, session, talk),
        Command::Reopen(command) => act(command, TicketAct::Reopen, session, talk),
        Command::Run(command) => restore(command, answer, session, talk),
        Command::Evidence(command) => {
            let project = project(&command.which, session)?;
            let evidence = session.ask(&project, |client| client.ticket_evidence(&project, &command.which.id))?;
            talk.answer(&format!("{evidence:#}"))
        }
    }
}

fn list(command: &List, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let states = match command.all {
        true => Vec::new(),
        false if command.state.is_empty() => TicketState::UNFINISHED.to_vec(),
        false => command.state.clone(),
    };
    let query = TicketQuery { id: None, states, region: command.region.clone(), mine: command.mine };
    let found = match &command.project {
        Some(project) => session.ask(project, |client| client.tickets(Some(project), &query))?,
        None => session.client.tickets(None, &query)?,
    };
    if !found.is_empty() || command.list.format == Format::Json {
        table::write(&found, COLUMNS, DEFAULTS, &command.list, talk)?;
    }
    if found.is_empty() { Err(Error::Empty("There are no such tickets".to_owned())) } else { Ok(()) }
}

/// Named, or the ticket's.
fn project(which: &Which, session: &Session) -> Result<ProjectId, Error> {
    if let Some(project) = &which.project {
        return Ok(project.clone());
    }
    let query = TicketQuery { id: Some(which.id.clone()), ..TicketQuery::default() };
    let found = session.client.tickets(None, &query)?.into_iter().next();
    found.map(|ticket| ticket.project).ok_or_else(|| Error::Refused {
        message: format!("There is no ticket {}, or it is not visible to you", which.id),
        hint: Some("`ticket:list --all` shows those that you may see.".to_owned()),
    })
}

fn get(which: &Which, session: &Session) -> Result<Ticket, Error> {
    let project = project(which, session)?;
    session.ask(&project, |client| client.ticket(&project, &which.id))
}

fn create(command: &Create, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let place = session.place(&command.place)?;
    let name = session.snapshot(&place, command.id.as_ref())?;
    let mut restore = RestoreRequest {
        environment_name: command.target.clone(),
        branch_from: command.branch_from.clone(),
        plan_hash: None,
        parts: Some(command.only.clone()).filter(|parts| !parts.is_empty()),
    };
    let (project, environment) = (&place.project, &place.environment);
    let plan = session.ask(project, |client| client.preflight(project, environment, &name, &restore))?;
    snapshot_restore::show(&plan, talk);
    if !plan.obstacles.is_empty() {
        return Err(Error::Refused { message: plan.obstacles.join(" "), hint: None });
    }
    confirm("Ask support staff for this?", Stake::Harmless, answer, talk)?;
    // What was shown is what is asked for, also where a name was made up.
    restore.plan_hash = Some(plan.plan_hash);
    restore.environment_name = Some(plan.environment.to_string());
    let request = TicketRequest { reason: command.reason.clone(), restore };
    let ticket = session.ask(project, |client| client.file_ticket(project, environment, &name, &request))?;
    talk.say("The ticket is filed. Its snapshot is kept until the ticket is over.");
    let (program, id) = (talk.program.clone(), &ticket.id);
    talk.say(&format!("To see it: {program} ticket:get {id}; to take it back: {program} ticket:withdraw {id}"));
    match command.format {
        Some(Format::Json) => whole(&ticket, talk),
        _ => talk.answer(&format!("Ticket: {}", ticket.id)),
    }
}

fn act(command: &Act, act: TicketAct, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = project(&command.which, session)?;
    let id = &command.which.id;
    let ticket = session.ask(&project, |client| client.act_on_ticket(&project, id, act, command.text.as_deref()))?;
    talk.say(&match (act, &ticket.claimer) {
        (TicketAct::Comment, _) => format!("The comment stands in the ticket {id}."),
        (TicketAct::Claim, Some(claimer)) => format!("{claimer} works on the ticket {id} now."),
        _ => format!("The ticket {id} is {} now.", state(&ticket)),
    });
    if command.format == Some(Format::Json) { whole(&ticket, talk) } else { Ok(()) }
}

/// Shows what would be replaced, asks, and has exactly that run.
fn restore(command: &Run, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = project(&command.which, session)?;
    let id = &command.which.id;
    let ticket = session.ask(&project, |client| client.ticket(&project, id))?;
    if let Some(plan) = &ticket.preflight {
        snapshot_restore::show(plan, talk);
    }
    ticket.changed.iter().for_each(|sentence| talk.say(&format!("  {sentence}")));
    let (backup, source, target) = (&ticket.backup, &ticket.environment, &ticket.environment_name);
    let (question, stake) = match &ticket.branch_from {
        Some(_) => {
            (format!("Make the environment {target} from {backup} for {} now?", ticket.requester), Stake::Harmless)
        }
        None => (
            format!(
                "Restore {backup} of {source} into {target} for {}, and overwrite what is there?",
                ticket.requester
            ),
            Stake::Destructive,
        ),
    };
    confirm(&question, stake, answer, talk)?;
    let wait = wait::is_wanted(command.wait, session, talk);
    let ticket = session.ask(&project, |client| client.act_on_ticket(&project, id, TicketAct::Run, None))?;
    let Some(run) = ticket.run else { return Ok(()) };
    let activity = session.ask(&project, |client| client.activity(&project, &run))?;
    let place = Place { project, environment: ticket.environment_name };
    talk.say(&format!("Restoring the snapshot {}", ticket.backup));
    if !wait {
        wait::goes_on(&activity, &place, talk);
        return Ok(());
    }
    wait::until_over(activity, &place, session, talk)?;
    talk.say(&format!("The ticket {id} is restored."));
    Ok(())
}

fn whole(ticket: &Ticket, talk: &mut Talk<'_>) -> Result<(), Error> {
    talk.answer(&format!("{:#}", serde_json::to_value(ticket).map_err(Failed::from)?))
}

fn state(ticket: &Ticket) -> String {
    ticket.state.to_string().replace('_', " ")
}

const DEFAULTS: &[&str] = &["id", "created", "age", "state", "project", "restore", "requester", "claimer"];

const COLUMNS: &[Column<Ticket>] = &[
    Column { key: "id", header: "ID", value: |ticket, _| ticket.id.as_str().into() },
    Column { key: "created", header: "Created", value: |ticket, look| look.dates.write(ticket.created_at).into() },
    Column {
        key: "age",
        header: "Age",
        value: |ticket, _| span(std::time::Duration::from_secs(ticket.age_seconds)).into(),
    },
    Column { key: "state", header: "State", value: |ticket, _| ticket.state.to_string().into() },
    Column { key: "project", header: "Project", value: |ticket, _| ticket.project.as_str().into() },
    Column {
        key: "restore",
        header: "Restore",
        value: |ticket, _| {
            let Ticket { backup, environment, environment_name, .. } = ticket;
            format!("{backup} of {environment} into {environment_name}").into()
        },
    },
    Column { key: "requester", header: "Requester", value: |ticket, _| ticket.requester.clone().into() },
    Column {
        key: "claimer",
        header: "Claimed by",
        value: |ticket, _| ticket.claimer.clone().map_or(Value::Null, Value::from),
    },
    Column { key: "reason", header: "Reason", value: |ticket, _| ticket.reason.clone().into() },
    Column { key: "region", header: "Region", value: |ticket, _| ticket.region.as_str().into() },
    Column { key: "run", header: "Run", value: |ticket, _| ticket.run.as_ref().map(|run| run.to_string()).into() },
    Column { key: "updated", header: "Updated", value: |ticket, look| look.dates.write(ticket.updated_at).into() },
];
