//! The command line's words: S4's commands and flags, with the names that U gives them today.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::flags::{AnswerFlags, EnvironmentChoice, FirstFlags, ListFlags, PlaceFlags, PropertyFlags, WaitFlags};
use crate::domain::activity::{ActivityResult, ActivityState};
use crate::domain::ids::{
    ActivityId, ChannelId, EnvironmentName, PlanId, ProjectId, ScheduleId, ServiceName, SnapshotName,
};
use crate::domain::notice::Notice;
use crate::domain::{Bytes, PartName};

/// What was typed.
#[derive(Debug)]
pub struct Arguments {
    /// `stillpoint`, or `platform` when it was called so.
    pub program: String,
    pub answer: AnswerFlags,
    pub command: Command,
}

impl Arguments {
    /// # Errors
    /// clap's, which are also how it answers `--help` and `--version`.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let stem = words.first().and_then(|word| Path::new(word).file_stem()).and_then(|stem| stem.to_str());
        let program = if stem == Some("platform") { "platform" } else { "stillpoint" };
        let matches = Words::command().name(program).bin_name(program).try_get_matches_from(words)?;
        let Words { answer, command } = Words::from_arg_matches(&matches)?;
        Ok(Self { program: program.to_owned(), answer, command })
    }
}

#[derive(Debug, Parser)]
#[command(
    version,
    about = "Consistent, encrypted snapshots and safe restores of web environments",
    after_help = ENVIRONMENT,
    max_term_width = 100
)]
struct Words {
    #[command(flatten)]
    answer: AnswerFlags,
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "\
Environment variables:
  STILLPOINT_URL      address of the console, e.g. https://stillpoint.example.org
  STILLPOINT_TOKEN    API token, made on the console's tokens page  [else PLATFORMSH_CLI_TOKEN]
  STILLPOINT_PROJECT  project to act on where -p is absent          [else PLATFORM_PROJECT]
  STILLPOINT_BRANCH   environment to act on where -e is absent      [else PLATFORM_BRANCH]

Exit codes:
  0 done   1 failed, declined or nothing found   2 usage   3 not logged in   4 configuration
  5 no connection   6 not permitted   9 no such project   130 interrupted

Examples:
  stillpoint snapshot:create
  stillpoint snapshots
  stillpoint snapshot:restore 2ca4d90639f706283fee";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a snapshot of an environment: all its databases and files, at one instant
    #[command(name = "snapshot:create", visible_aliases = ["backup:create", "backup"], after_help = CREATE)]
    SnapshotCreate(SnapshotCreate),
    /// List an environment's snapshots, newest first
    #[command(name = "snapshots", visible_aliases = ["snapshot:list", "backup:list", "backups"], after_help = LIST)]
    Snapshots(Snapshots),
    /// Put a snapshot back; what is there now is kept as a safety snapshot
    #[command(name = "snapshot:restore", visible_aliases = ["backup:restore"], after_help = RESTORE)]
    SnapshotRestore(SnapshotRestore),
    /// Show one snapshot
    #[command(name = "backup:get", visible_aliases = ["snapshot:get"])]
    BackupGet(BackupGet),
    /// Delete a snapshot; for 3 days that can be taken back
    #[command(name = "backup:delete", visible_aliases = ["snapshot:delete"])]
    BackupDelete(NamedSnapshot),
    /// Take the deletion of a snapshot back
    #[command(name = "snapshot:undelete", visible_aliases = ["backup:undelete"])]
    SnapshotUndelete(NamedSnapshot),
    /// Protect a snapshot: it stays until that is taken off
    #[command(name = "snapshot:protect", visible_aliases = ["backup:protect"])]
    SnapshotProtect(SnapshotProtect),
    /// Take a snapshot's protection off: its plan decides again
    #[command(name = "snapshot:unprotect", visible_aliases = ["backup:unprotect"])]
    SnapshotUnprotect(NamedSnapshot),
    /// Show which snapshots go, when and why
    #[command(name = "snapshot:retention", visible_aliases = ["backup:retention", "retention"], after_help = RETENTION)]
    SnapshotRetention(SnapshotRetention),
    /// Show what a project's plan says; take its present text, after showing what that changes
    #[command(name = "project:plan", visible_aliases = ["plan"])]
    ProjectPlan(super::project_plan::ProjectPlan),
    /// Put a project under another plan, after showing what that changes
    #[command(name = "project:set-plan")]
    ProjectSetPlan(ProjectSetPlan),
    /// Take an environment out of the console; its snapshots are kept as long as the plan says
    #[command(name = "environment:delete", after_help = REMOVAL)]
    EnvironmentDelete(super::removal::EnvironmentDelete),
    /// Take a project out of the console, with all its environments (operators)
    #[command(name = "project:delete")]
    ProjectDelete(super::removal::ProjectDelete),
    /// Delete all snapshots of a removed project; for 3 days that can be taken back (operators)
    #[command(name = "project:purge", after_help = PURGE)]
    ProjectPurge(super::removed::ProjectPurge),
    /// Move a project and its repository to another region (operators)
    #[command(name = "project:move", after_help = MOVE)]
    ProjectMove(super::relocation::ProjectMove),
    /// Save a service's dump, of an environment as it is now or of a snapshot
    #[command(name = "db:dump", visible_aliases = ["sql-dump"], after_help = DUMP)]
    DbDump(DbDump),
    /// Try a restore: load a snapshot beside the live data, check it, drop it again
    #[command(name = "drill:run", visible_aliases = ["drill"], after_help = DRILL)]
    DrillRun(DrillRun),
    /// List the restores that were tried and did not fail, newest first
    #[command(name = "drill:list", visible_aliases = ["drills"])]
    DrillList(DrillList),
    /// Show the report of a tried restore
    #[command(name = "drill:get")]
    DrillGet(DrillGet),
    /// List activities, newest first
    #[command(name = "activity:list", visible_aliases = ["activities", "act"], after_help = ACTIVITIES)]
    ActivityList(ActivityList),
    /// Show one activity
    #[command(name = "activity:get")]
    ActivityGet(ActivityGet),
    /// Show an activity's log, and follow it while it runs
    #[command(name = "activity:log")]
    ActivityLog(ActivityLog),
    /// Cancel an activity that is pending, or that can safely be stopped
    #[command(name = "activity:cancel")]
    ActivityCancel(ActivityCancel),
    #[command(flatten)]
    Ticket(super::tickets::Command),
    /// List the projects that you may see
    #[command(name = "project:list", visible_aliases = ["projects", "pro"])]
    ProjectList(ProjectList),
    /// List a project's environments
    #[command(name = "environment:list", visible_aliases = ["environments", "env"])]
    EnvironmentList(EnvironmentList),
    /// Merge an environment into its parent, or announce that: after a snapshot of the parent
    #[command(name = "environment:merge", visible_aliases = ["merge"], after_help = MERGE)]
    EnvironmentMerge(EnvironmentMerge),
    /// Show what storage is declared for services and mounts, and what they use
    #[command(name = "storage:list", visible_aliases = ["storage"])]
    StorageList(StorageList),
    /// Declare another size for a service or mount, after a snapshot
    #[command(name = "storage:set", after_help = STORAGE)]
    StorageSet(StorageSet),
    /// List a project's members and their roles
    #[command(name = "user:list", visible_aliases = ["users"])]
    UserList(UserList),
    /// Invite somebody into a project: prints a link to hand on, which works once
    #[command(name = "user:add", after_help = ROLES)]
    UserAdd(UserAdd),
    /// Give a member other roles: exactly those that are named
    #[command(name = "user:update", after_help = ROLES)]
    UserUpdate(UserUpdate),
    /// Remove a member from a project
    #[command(name = "user:delete")]
    UserDelete(UserDelete),
    /// List the invitations that can still be accepted
    #[command(name = "invitation:list", visible_aliases = ["invitations"])]
    InvitationList(UserList),
    /// Take an invitation back: its link leads nowhere any more
    #[command(name = "invitation:delete")]
    InvitationDelete(InvitationDelete),
    /// List the accounts of the installation (operators)
    #[command(name = "account:list", visible_aliases = ["accounts"])]
    AccountList(super::accounts::AccountList),
    /// Close an account: nobody gets in by it any more; its name stays in the history (operators)
    #[command(name = "account:close")]
    AccountClose(super::accounts::NamedAccount),
    /// Open a closed account again (operators)
    #[command(name = "account:open")]
    AccountOpen(super::accounts::NamedAccount),
    /// Have an account run the installation, or work restore tickets (operators)
    #[command(name = "account:grant")]
    AccountGrant(super::accounts::AccountDuty),
    /// Take that away again (operators)
    #[command(name = "account:withdraw")]
    AccountWithdraw(super::accounts::AccountDuty),
    /// Show who did what, from where, and what was refused, newest first
    #[command(name = "project:audit", visible_aliases = ["audit"], after_help = AUDIT)]
    Audit(Audit),
    /// List where a project's notices go
    #[command(name = "integration:list", visible_aliases = ["integrations", "notice:list", "notices"], after_help = INTEGRATIONS)]
    IntegrationList(IntegrationList),
    /// Have a project's notices sent to an address
    #[command(name = "integration:add", visible_aliases = ["notice:add"], after_help = INTEGRATION)]
    IntegrationAdd(IntegrationAdd),
    /// Change where an integration leads, what it tells, or what signs its posts; what is not named stays
    #[command(name = "integration:update", visible_aliases = ["notice:update"])]
    IntegrationUpdate(IntegrationUpdate),
    /// Send no more notices to an address; its log goes with it
    #[command(name = "integration:delete", visible_aliases = ["notice:delete"])]
    IntegrationDelete(NamedIntegration),
    /// Send a test message, and wait for what becomes of it
    #[command(name = "integration:validate", visible_aliases = ["integration:test", "notice:test"])]
    IntegrationValidate(NamedIntegration),
    /// List what was sent in the last 30 days, and what became of it, newest first
    #[command(name = "integration:activity:list", visible_aliases = ["integration:activities", "notice:log"], after_help = DELIVERIES)]
    IntegrationActivities(IntegrationActivities),
    /// List when an environment's snapshots are taken, and restores tried, by themselves
    #[command(name = "schedule:list", visible_aliases = ["schedules"], after_help = SCHEDULES)]
    ScheduleList(ScheduleList),
    /// Have snapshots taken, or with --drill restores tried, by themselves
    #[command(name = "schedule:add", after_help = SCHEDULE)]
    ScheduleAdd(ScheduleAdd),
    /// Change, pause or resume a schedule
    #[command(name = "schedule:update")]
    ScheduleUpdate(ScheduleUpdate),
    /// Remove a schedule; what it took or proved stays
    #[command(name = "schedule:delete")]
    ScheduleDelete(ScheduleDelete),
}

const ROLES: &str = "\
Roles: admin (everywhere), viewer, or TYPE:ROLE with production, staging or development and admin,
contributor or viewer.

Examples:
  stillpoint user:add ada@example.org -r viewer -r production:viewer,staging:admin
  stillpoint user:update ada@example.org -r admin";

const AUDIT: &str = "\
Columns: at, user, about, outcome, address (the defaults), activity, authority, environment, number,
project, reason, type

Examples:
  stillpoint project:audit --type project.member --since 2026-11-01
  stillpoint project:audit --limit 0 --format csv > audit.csv
  stillpoint project:audit --installation --outcome refused";

const INTEGRATIONS: &str = "\
Columns: id, type, address, notices (the defaults), created_at

Examples:
  stillpoint integration:list
  stillpoint integration:list --format csv --columns id,address";

const INTEGRATION: &str = "\
Notices: snapshot_failed, snapshot_missed, restore_failed, restored, drill_failed, drill_missed,
ticket_changed, storage_near, snapshot_deleted; all of them when none is named. On success stdout has one line for each
address, `Integration: ID`, and for a webhook `Secret: TEXT`, shown this once: it signs the posts.

Examples:
  stillpoint integration:add --type webhook --url https://example.org/hooks/stillpoint
  stillpoint integration:add --type health.email --recipients ada@example.org,grace@example.org
  stillpoint integration:add --type mail --recipients ada@example.org --notices drill_failed,drill_missed";

const DELIVERIES: &str = "\
Columns: created_at, notice, state, address, error (the defaults), about, activity, attempts, done_at,
id, integration

Examples:
  stillpoint integration:activity:list
  stillpoint integration:activity:list --format json";

const CREATE: &str = "\
On success stdout has one line, `Backup name: 2ca4d90639f706283fee`; all else is on stderr.

Examples:
  stillpoint snapshot:create
  stillpoint snapshot:create --note 'before the sale'
  stillpoint snapshot:create --yes --no-wait            # in a cron job or deploy hook
  name=$(stillpoint snapshot:create -y | cut -d' ' -f3)";

const LIST: &str = "\
Columns: created_at, progress, id (the defaults), added, automated, commit_id, consistency,
deleted_at, deleted_by, environment, expires_at, index, live, note, restorable, size, status, taken_at,
updated_at. With --deleted the defaults are id, deleted_at, deleted_by and expires_at: until when it can
be taken back

Examples:
  stillpoint snapshots
  stillpoint snapshots --deleted
  stillpoint snapshots -e staging --columns +,size,note
  stillpoint snapshots --format csv --no-header --columns id | head -1";

const RESTORE: &str = "\
Without a name, the newest snapshot is restored. The command first shows what will be
overwritten, and asks; without a terminal it needs --yes.

Examples:
  stillpoint snapshot:restore 2ca4d90639f706283fee
  stillpoint snapshot:restore --yes 2ca4d90639f706283fee";

const RETENTION: &str = "\
Columns: taken_at, id, goes_at, reason (the defaults), held, origin, rule, size_added

Examples:
  stillpoint snapshot:retention
  stillpoint snapshot:retention -e staging --going
  stillpoint snapshot:retention --format json";

const DUMP: &str = "\
Writes ENVIRONMENT--SERVICE--TIME.EXT, or with --snapshot ENVIRONMENT--SERVICE--NAME.EXT, and
says how it is loaded: .db SQLite, .dump pg_restore, .sql mariadb or mysql, .rdb redis-server, .tar Solr.
On success stdout has one line, the file's path; all else is on stderr. What breaks off leaves no
file and ends with 1.

Examples:
  stillpoint db:dump -e main
  stillpoint db:dump --service orders --gzip --directory backups
  stillpoint db:dump --snapshot 2ca4d90639f706283fee --file shop.dump
  stillpoint db:dump --service shop --stdout | mariadb shop_copy";

const DRILL: &str = "\
The site neither waits nor changes. Ends with 1 when the snapshot could not be restored, and when
nothing of it can be proven there, so that a cron job or CI can raise an alarm. Parts that can't be
proven there while others can are named, with the reason.

Examples:
  stillpoint drill:run -e main
  stillpoint drill:run 2ca4d90639f706283fee --format json";

const STORAGE: &str = "\
A snapshot is taken first, unless --no-snapshot is given or the plan has no such snapshots; if it fails,
nothing changes. Less than a part uses is refused.

Examples:
  stillpoint storage:set mount:uploads '20 GiB' -e main
  stillpoint storage:set service:database 50GiB --yes --no-wait";

const MERGE: &str = "\
Where the operator named a command for merging, it runs; else the merge is announced in the feed of the
parent, and you merge once this command has ended with 0. Before a live parent is merged into, a
snapshot of it is taken, unless --no-snapshot is given or the plan has no such snapshots.

Examples:
  stillpoint environment:merge -e staging
  stillpoint environment:merge -e staging --yes --wait && git push origin staging:main
  stillpoint environment:merge -e staging --yes --no-snapshot";

const ACTIVITIES: &str = "\
Columns: id, created, description, progress, state, result (the defaults), completed,
environments, started, type

Examples:
  stillpoint activity:list --incomplete
  stillpoint activity:list --all --type environment.restore --result failure";

const SCHEDULES: &str = "\
Columns: id, what, cron, time_zone, state, next (the defaults), next_local, overdue_since, owner,
source, when

Examples:
  stillpoint schedule:list -e main
  stillpoint schedule:list --columns id,when,next_local";

const SCHEDULE: &str = "\
On success stdout has one line, `Schedule: ID`; all else is on stderr. CRON has five fields: minute,
hour, day of the month, month, day of the week. More often than once a day is advised against.

Examples:
  stillpoint schedule:add '0 5 * * *'
  stillpoint schedule:add '0 3 * * 1-5' --time-zone Europe/Berlin -e main
  stillpoint schedule:add --drill @weekly -e staging    # at a quiet hour of its own; also @monthly";

#[derive(Debug, Args)]
pub struct ScheduleList {
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct ScheduleAdd {
    /// When, e.g. '0 3 * * *' for every day at 03:00
    #[arg(value_name = "CRON")]
    pub cron: String,
    /// Try a restore of the newest snapshot instead of taking one
    #[arg(long)]
    pub drill: bool,
    /// By whose clock, e.g. Europe/Berlin
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    pub time_zone: String,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct ScheduleUpdate {
    /// Schedule
    #[arg(value_name = "ID")]
    pub id: ScheduleId,
    /// When, e.g. '0 3 * * *' for every day at 03:00
    #[arg(long, value_name = "CRON", group = "what")]
    pub cron: Option<String>,
    /// By whose clock, e.g. Europe/Berlin
    #[arg(long, value_name = "ZONE", group = "what")]
    pub time_zone: Option<String>,
    /// Take nothing until it is resumed
    #[arg(long, conflicts_with = "resume", group = "what")]
    pub pause: bool,
    /// Go on with one that is paused or was stopped
    #[arg(long, group = "what")]
    pub resume: bool,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Args)]
pub struct ScheduleDelete {
    /// Schedule
    #[arg(value_name = "ID")]
    pub id: ScheduleId,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Args)]
pub struct SnapshotCreate {
    /// Environment, like -e
    #[arg(value_name = "ENVIRONMENT", conflicts_with = "environment")]
    pub positional: Option<EnvironmentChoice>,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Don't hold requests: the site goes on, and the snapshot may not show a single instant
    #[arg(long)]
    pub live: bool,
    /// A remark that stays with the snapshot
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Show at most so many
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
    /// Those that were deleted and can still be taken back
    #[arg(long)]
    pub deleted: bool,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct SnapshotRestore {
    /// Snapshot; the newest when left out
    #[arg(value_name = "NAME")]
    pub id: Option<SnapshotName>,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Environment to restore into; the acting one when left out
    #[arg(long, value_name = "ENVIRONMENT")]
    pub target: Option<String>,
    /// Parent of a target that is created for it
    #[arg(long, value_name = "ENVIRONMENT")]
    pub branch_from: Option<String>,
    /// Only these parts, e.g. service:database,mount:uploads; repeatable; all when left out
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<PartName>,
    /// Accepted for scripts: a snapshot holds no code
    #[arg(long, hide = true)]
    pub no_code: bool,
    /// Accepted for scripts: a snapshot holds no resource settings
    #[arg(long, hide = true)]
    pub no_resources: bool,
    /// Accepted for scripts: a snapshot holds no resource settings
    #[arg(long, hide = true, value_name = "WHICH")]
    pub resources_init: Option<String>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct BackupGet {
    /// Snapshot; the newest when left out
    #[arg(value_name = "NAME")]
    pub id: Option<SnapshotName>,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub property: PropertyFlags,
}

#[derive(Debug, Args)]
pub struct NamedSnapshot {
    /// Snapshot
    #[arg(value_name = "NAME")]
    pub id: SnapshotName,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Accepted for scripts: it is done at once
    #[arg(short = 'W', long, hide = true)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct SnapshotProtect {
    #[command(flatten)]
    pub named: NamedSnapshot,
    /// What it is kept for
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

#[derive(Debug, Args)]
pub struct SnapshotRetention {
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Only what goes at the next run
    #[arg(long)]
    pub going: bool,
    #[command(flatten)]
    pub list: ListFlags,
}

const REMOVAL: &str = "\
Files and databases that an operator declared stay where they are. Only what a restore made for the
environment is deleted with it, after a last snapshot unless --no-snapshot says otherwise.
Its snapshots can still be listed and restored into another environment:
  stillpoint environment:list --removed
  stillpoint snapshot:restore -e try-out --target main";

const PURGE: &str = "\
What is protected, in use or on an open ticket stays. The repository itself stays where it is.
  stillpoint project:list --removed
  stillpoint project:purge -p shop
  stillpoint project:purge -p shop --undo";

const MOVE: &str = "\
Copies every snapshot, checks the copy, and switches; the site's own data stays where it is.
The old repository stays where it is, until you remove it.
  stillpoint project:move --region eu -p shop";

#[derive(Debug, Args)]
pub struct ProjectSetPlan {
    /// Plan
    #[arg(value_name = "PLAN")]
    pub plan: PlanId,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct DbDump {
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Service; needed where there are several
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// As it is in this snapshot; as it is now when left out
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<SnapshotName>,
    /// Name of the file
    #[arg(short, long, value_name = "FILE", conflicts_with = "stdout")]
    pub file: Option<PathBuf>,
    /// Directory of the file
    #[arg(short, long, value_name = "DIRECTORY", conflicts_with = "stdout")]
    pub directory: Option<PathBuf>,
    /// Compress with gzip
    #[arg(short = 'z', long)]
    pub gzip: bool,
    /// Put the time into the name given with --file; names that are made up have it
    #[arg(short, long, conflicts_with = "stdout")]
    pub timestamp: bool,
    /// Write to stdout, whatever it is
    #[arg(short = 'o', long)]
    pub stdout: bool,
    /// Not available: refused with what to do instead
    #[arg(long, hide = true, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Not available: refused with what to do instead
    #[arg(long, hide = true, value_name = "TABLE")]
    pub exclude_table: Vec<String>,
    /// Not available: refused with what to do instead
    #[arg(long, hide = true, value_name = "SCHEMA")]
    pub schema: Option<String>,
    /// Not available: refused with what to do instead
    #[arg(long, hide = true)]
    pub schema_only: bool,
}

#[derive(Debug, Args)]
pub struct DrillRun {
    /// Snapshot; the newest when left out
    #[arg(value_name = "NAME")]
    pub id: Option<SnapshotName>,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub list: ListFlags,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct DrillList {
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct DrillGet {
    /// Its activity; the newest when left out
    #[arg(value_name = "ID")]
    pub id: Option<ActivityId>,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub property: PropertyFlags,
}

#[derive(Debug, Args)]
pub struct ActivityList {
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Only this type, e.g. environment.backup; repeatable
    #[arg(short = 't', long = "type", value_delimiter = ',', value_name = "TYPE")]
    pub kinds: Vec<String>,
    /// Not this type; repeatable
    #[arg(short = 'x', long = "exclude-type", value_delimiter = ',', value_name = "TYPE")]
    pub exclude: Vec<String>,
    /// Only in this state (pending, in_progress, complete, cancelled); repeatable
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<ActivityState>,
    /// Only with this result (success, failure)
    #[arg(long, value_name = "RESULT")]
    pub result: Option<ActivityResult>,
    /// Only those that are not over
    #[arg(short, long, conflicts_with_all = ["state", "result"])]
    pub incomplete: bool,
    /// Of all environments
    #[arg(short, long, conflicts_with = "environment")]
    pub all: bool,
    /// Only those created at or before this instant, e.g. 2015-06-19T17:11:42Z or 2015-06-19
    #[arg(long, value_name = "INSTANT")]
    pub start: Option<String>,
    /// Show at most so many
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    pub limit: usize,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct ActivityGet {
    /// Activity; the environment's newest when left out
    #[arg(value_name = "ID")]
    pub id: Option<ActivityId>,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub property: PropertyFlags,
}

#[derive(Debug, Args)]
pub struct ActivityLog {
    /// Activity; the environment's newest when left out
    #[arg(value_name = "ID")]
    pub id: Option<ActivityId>,
    #[command(flatten)]
    pub place: PlaceFlags,
    /// 0: show what is there and return; any other number follows until the end
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub refresh: u32,
    /// Put its time before each line
    #[arg(short, long)]
    pub timestamps: bool,
}

#[derive(Debug, Args)]
pub struct ActivityCancel {
    /// Activity; the environment's only unfinished one when left out
    #[arg(value_name = "ID")]
    pub id: Option<ActivityId>,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Args)]
pub struct ProjectList {
    /// Those that were removed, with who did it and until when their snapshots stay (operators)
    #[arg(long)]
    pub removed: bool,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct EnvironmentList {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    /// Those that were removed, with who did it and until when their snapshots stay
    #[arg(long)]
    pub removed: bool,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct StorageList {
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct StorageSet {
    /// service:NAME or mount:NAME
    #[arg(value_name = "PART")]
    pub part: PartName,
    /// With a unit, as '20 GiB'
    #[arg(value_name = "SIZE")]
    pub size: Bytes,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub first: FirstFlags,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct EnvironmentMerge {
    /// Environment that is merged, like -e
    #[arg(value_name = "ENVIRONMENT", conflicts_with = "environment")]
    pub positional: Option<EnvironmentChoice>,
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(flatten)]
    pub first: FirstFlags,
    /// Accepted for scripts: a merge here has no resource settings
    #[arg(long, hide = true, value_name = "WHICH")]
    pub resources_init: Option<String>,
    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Debug, Args)]
pub struct UserList {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct UserAdd {
    /// E-mail address
    pub email: String,
    /// Role; repeatable, or several with commas between
    #[arg(short, long = "role", value_delimiter = ',', required = true, value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct UserUpdate {
    /// E-mail address
    pub email: String,
    /// Role; repeatable, or several with commas between
    #[arg(short, long = "role", value_delimiter = ',', required = true, value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct UserDelete {
    /// E-mail address
    pub email: String,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct InvitationDelete {
    /// E-mail address that was invited
    pub email: String,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct Audit {
    /// Project
    #[arg(short, long, value_name = "ID", conflicts_with = "installation")]
    pub project: Option<ProjectId>,
    /// Of the whole installation; for operators
    #[arg(long)]
    pub installation: bool,
    /// Only of this environment
    #[arg(short, long, value_name = "NAME", conflicts_with = "installation")]
    pub environment: Option<EnvironmentName>,
    /// Only this type or what begins with it, e.g. environment.restore, project.member, refused; repeatable
    #[arg(short = 't', long = "type", value_delimiter = ',', value_name = "TYPE")]
    pub kinds: Vec<String>,
    /// Only by this person
    #[arg(long, value_name = "EMAIL")]
    pub user: Option<String>,
    /// Only with this outcome: success, failure, refused, pending, in_progress, cancelled
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<String>,
    /// Only at or after this instant, e.g. 2015-06-19T17:11:42Z or 2015-06-19
    #[arg(long, value_name = "INSTANT")]
    pub since: Option<String>,
    /// Only before this instant
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<String>,
    /// Show at most so many; 0: all
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub limit: usize,
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct IntegrationList {
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    #[command(flatten)]
    pub list: ListFlags,
}

/// How notices travel, by our names and by those that scripts know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum IntegrationType {
    #[value(alias = "health.email")]
    Mail,
    #[value(alias = "health.webhook")]
    Webhook,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub struct IntegrationAdd {
    /// How it travels: mail (also health.email) or webhook (also health.webhook)
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub way: IntegrationType,
    /// Where signed posts go
    #[arg(long, value_name = "URL", group = "where")]
    pub url: Option<String>,
    /// E-mail address; repeatable, or several with commas between
    #[arg(long, value_delimiter = ',', value_name = "EMAIL", group = "where")]
    pub recipients: Vec<String>,
    /// What is told; repeatable, or several with commas between
    #[arg(long, alias = "events", value_delimiter = ',', value_name = "NOTICE")]
    pub notices: Vec<Notice>,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct IntegrationUpdate {
    /// Integration
    #[arg(value_name = "ID")]
    pub id: ChannelId,
    /// Where signed posts go from now on
    #[arg(long, value_name = "URL", group = "what", conflicts_with = "recipients")]
    pub url: Option<String>,
    /// E-mail address from now on
    #[arg(long, alias = "recipient", value_name = "EMAIL", group = "what")]
    pub recipients: Option<String>,
    /// What is told from now on; repeatable, or several with commas between
    #[arg(long, alias = "events", value_delimiter = ',', value_name = "NOTICE", group = "what")]
    pub notices: Vec<Notice>,
    /// Sign posts with a new secret, which is printed this once
    #[arg(long, group = "what")]
    pub new_secret: bool,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct NamedIntegration {
    /// Integration
    #[arg(value_name = "ID")]
    pub id: ChannelId,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
}

#[derive(Debug, Args)]
pub struct IntegrationActivities {
    /// Only of this integration
    #[arg(value_name = "ID")]
    pub id: Option<ChannelId>,
    /// Project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<ProjectId>,
    #[command(flatten)]
    pub list: ListFlags,
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
