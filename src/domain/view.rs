//! Read models: what a page or a reply is made from, with every verdict already in it, so that no door decides.

mod removed;
mod ticket;

use serde::{Deserialize, Serialize};

pub use removed::{Purge, RemovedEnvironment, RemovedPage, RemovedProject, RemovedSnapshot, Until};
pub use ticket::{Evidence, Queue, Run, Step, TicketEntry, TicketPage};

use super::activity::{Activity, MergeHow};
use super::audit::AuditEntry;
use super::bytes::{Bytes, counted};
use super::drill::Drill;
use super::environment::{Environment, EnvironmentKind, Project};
use super::ids::{
    ActivityId, EnvironmentName, InvitationId, PlanId, ProjectId, RegionId, ServiceName, SnapshotName, TokenId, UserId,
};
use super::manifest::Manifest;
use super::notice::{Channel, Delivery};
use super::policy::plans::Line;
use super::policy::retention::{Decision, Eviction, RetentionPlan, Simulation};
use super::policy::{AccountChange, Advice, Grants, MemberSource, Refusal, Region, Roles, Verdict};
use super::schedule::Schedule;
use super::scope::PartName;
use super::snapshot::{Deletion, Snapshot};
use super::time::Timestamp;

/// Whether a button works, and if not, why (R7: shown, disabled, with the reason).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub refusal: Option<Refusal>,
}

impl From<Verdict> for Offer {
    fn from(verdict: Verdict) -> Self {
        Self { refusal: verdict.err() }
    }
}

impl Offer {
    pub fn is_open(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Who is looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    pub email: String,
    pub operator: bool,
    pub support: bool,
}

/// The worst state there is, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub tone: Tone,
    pub sentence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    Good,
    Busy,
    Attention,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectCard {
    pub project: Project,
    pub plan_title: String,
    /// Environments that one may see.
    pub environments: u64,
    pub health: Health,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentCard {
    pub environment: Environment,
    pub snapshots: u64,
    pub newest_snapshot: Option<Snapshot>,
    pub health: Health,
    /// Whether the one who looks may take a snapshot.
    pub create_snapshot: Offer,
    /// What restores replaced and is not gone yet.
    pub aside: Vec<Aside>,
    /// What another manual one would push out (R13).
    pub eviction: Eviction,
    /// Whether the one who looks may merge it into its parent.
    pub merge: Offer,
}

/// What a restore replaced: it stands aside until it is stored as a snapshot, and then goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The restore.
    pub activity: ActivityId,
    pub parts: Vec<AsidePart>,
    /// It is stored, and being removed.
    pub removing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsidePart {
    pub part: PartName,
    /// In bytes, as it was when it was set aside; `None`: not known.
    pub size: Option<Bytes>,
    /// "in the database server".
    pub place: String,
}

impl Aside {
    /// A sentence: how much, where, and until when.
    pub fn in_words(&self) -> String {
        let until = match self.removing {
            true => "It is kept as a snapshot, and is being removed.",
            false => "It goes once it is stored as the safety snapshot.",
        };
        let parts: Vec<String> = self.parts.iter().map(AsidePart::in_words).collect();
        let sum: Bytes = self.parts.iter().filter_map(|part| part.size).sum();
        match parts.as_slice() {
            [] => format!("What a restore replaced stands aside; how much it is was not measured yet. {until}"),
            some => format!("What a restore replaced stands aside and takes {sum}: {}. {until}", some.join(", ")),
        }
    }
}

impl AsidePart {
    fn in_words(&self) -> String {
        let size = self.size.map_or_else(|| "of unknown size".to_owned(), |size| size.to_string());
        format!("the {} {size} ({})", self.part.in_words(), self.place)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectPage {
    pub card: ProjectCard,
    pub environments: Vec<EnvironmentCard>,
    /// Newest activities of all environments that one may see.
    pub activities: Vec<ActivityEntry>,
    /// Whether the one who looks may see the audit.
    pub audit: Offer,
    /// Whether the one who looks may see where notices go.
    pub notices: Offer,
    /// Whether the one who looks may remove the project.
    pub remove: Offer,
    /// Environments that were removed and of which there are snapshots.
    pub removed: Vec<EnvironmentCard>,
    /// Whether any was removed that one may see, with or without snapshots.
    pub has_removed: bool,
    /// How many restore tickets are unfinished; `None`: there are none, and the region needs none (R27).
    pub tickets: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentPage {
    pub project: Project,
    pub plan_title: String,
    pub card: EnvironmentCard,
    /// The project's other environments, for the switcher.
    pub siblings: Vec<(EnvironmentName, String)>,
    pub parts: Vec<Part>,
    /// Where its site answers through the gateway.
    pub urls: Vec<String>,
    pub restore: Offer,
    /// The newest restore that was tried and worked, all or a part of it (R29).
    pub proven: Option<Drill>,
    /// The last one that was tried, if nothing could be proven by it.
    pub unprovable: Option<Drill>,
    pub next_drill: Option<NextRun>,
    /// Whether the one who looks may try one now.
    pub drill: Offer,
    /// Whether the one who looks may take dumps of the services.
    pub dump: Offer,
    /// Whether the one who looks may remove it, whatever else stands against that.
    pub remove: Offer,
    pub activities: Feed,
    pub snapshots: Vec<SnapshotEntry>,
}

/// What a merge would do, and the snapshot that is advised before it (R10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergePage {
    pub project: Project,
    pub from: Environment,
    pub into: Environment,
    pub how: MergeHow,
    /// What its command may take.
    pub minutes: u16,
    pub advice: Advice,
    /// What the snapshot would push out.
    pub eviction: Eviction,
    /// Whether the one who looks may merge.
    pub offer: Offer,
}

impl MergePage {
    /// What will happen, as sentences.
    pub fn expectations(&self) -> Vec<String> {
        let (from, into, minutes) = (&self.from.name, &self.into.name, self.minutes);
        match self.how {
            MergeHow::Command => vec![
                format!(
                    "The command that the operator named for merging runs on the worker's machine, with {from} and {into} as \
                     its last words, for at most {minutes} minutes. What it says stands in the activity's log, for everybody \
                     who sees {into}."
                ),
                format!("Until it has ended, no snapshot and no restore of {into} begins."),
            ],
            MergeHow::Announcement => vec![format!(
                "The operator named no command for merging: that {from} is merged into {into} is announced in the feed, and \
                 you merge it yourself once the activity has succeeded."
            )],
        }
    }
}

/// What is declared for an environment's parts, and what they use (R10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoragePage {
    pub project: Project,
    pub environment: Environment,
    pub parts: Vec<StoragePart>,
    /// Whether a command of the operator's makes it true.
    pub has_command: bool,
    /// What that may take.
    pub minutes: u16,
    pub advice: Advice,
    /// What the snapshot would push out.
    pub eviction: Eviction,
    /// Whether the one who looks may change it.
    pub change: Offer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoragePart {
    pub part: PartName,
    /// `sqlite`, `mount`, …
    pub kind: String,
    pub declared: Option<Bytes>,
    /// `None`: it can't be measured now.
    pub used: Option<Bytes>,
}

impl StoragePage {
    /// What a change does, as sentences.
    pub fn expectations(&self) -> Vec<String> {
        let minutes = self.minutes;
        vec![match self.has_command {
            true => format!(
                "The command that the operator named for it runs on the worker's machine, for at most {minutes} minutes; when it \
                 has succeeded, the new size is declared. What it says stands in the activity's log."
            ),
            false => {
                "The new size is declared; the operator named no command that makes it true, so resize the volume or \
                      the service itself where it runs."
                    .to_owned()
            }
        }]
    }
}

/// What removing an environment would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalPage {
    pub project: Project,
    pub environment: Environment,
    pub offer: Offer,
    /// Why it takes an agreement of its own: it is live, say.
    pub weight: Option<String>,
    /// Host names that are served no more.
    pub hosts: Vec<String>,
    /// What a restore made for it, and goes with it.
    pub deleted: Vec<String>,
    /// What an operator declared: it stays where it is.
    pub stays: Vec<Part>,
    /// They are kept as long as the plan says.
    pub snapshots: u64,
    /// Activities that have not begun: they are cancelled.
    pub waiting: u64,
    /// Whether a last snapshot can be taken before; ticked where something is deleted.
    pub last: Offer,
}

/// What moving a project to another region would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovePage {
    pub project: Project,
    pub from: Region,
    pub to: Region,
    pub snapshots: u64,
    /// Of the repository, and what is left where it would go; `None`: the console's machine can't see it.
    pub size: Option<Bytes>,
    pub free: Option<Bytes>,
    /// What the other region does differently: sentences.
    pub changes: Vec<String>,
    /// Why it can't be done now: sentences.
    pub obstacles: Vec<String>,
}

impl MovePage {
    /// What will happen, how long it takes and what stays behind: sentences.
    pub fn expectations(&self) -> Vec<String> {
        let (from, to) = (&self.from.id, &self.to.id);
        let size = self.size.map_or_else(|| "of a size that is not known here".to_owned(), |size| size.to_string());
        let free = self.free.map_or_else(String::new, |free| format!(" {free} are free there."));
        let mut all = vec![
            format!(
                "Its repository, {size}, with {}, is copied to the region {to} and read back there.{free} How long that takes \
                 depends on the way between the two; snapshots and restores go on meanwhile.",
                counted(self.snapshots, "snapshot")
            ),
            "At its end, what came since is copied while nobody else uses the repository: whoever wants it then waits for that \
             long. Until it has ended, the project is where it is now, and the move can be cancelled."
                .to_owned(),
            format!(
                "Services and files stay where they are. The workers of {to} must reach them, which is tried before anything \
                 else, and visitors are to be led to the gateways of {to} afterwards."
            ),
        ];
        all.extend(self.changes.iter().cloned());
        all.push(format!("The repository in {from} stays as it is then, until an operator removes it."));
        all
    }
}

/// Where a project lies, and where it could go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionPage {
    pub project: Project,
    pub region: Region,
    /// The other regions, and whether they have a place for it.
    pub others: Vec<(Region, Offer)>,
    /// Whether the one who looks may move it now.
    pub change: Offer,
    /// The last moves, newest first.
    pub moves: Vec<ActivityEntry>,
    /// What moves left behind, newest first.
    pub left: Vec<LeftRepository>,
}

/// A repository that a move left where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRepository {
    pub region: RegionId,
    pub at: Timestamp,
    /// Its directory; only for operators.
    pub location: Option<String>,
}

/// What removing a project would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRemovalPage {
    pub project: Project,
    pub offer: Offer,
    pub environments: Vec<EnvironmentName>,
    pub deleted: Vec<String>,
    pub snapshots: u64,
}

/// A service or mount, as people see it: never a path or an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// `sqlite`, `mount`, …
    pub kind: String,
}

/// When snapshots of an environment are taken, and restores tried, by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchedulesPage {
    pub project: Project,
    pub environment: Environment,
    pub plan_title: String,
    /// Of snapshots; the plan's own first.
    pub schedules: Vec<ScheduleEntry>,
    /// Of drills (R29); the one that came by itself first.
    pub drills: Vec<ScheduleEntry>,
    /// The newest restore that was tried and worked.
    pub proven: Option<Drill>,
    /// Whether the one who looks may make another.
    pub add: Offer,
    pub add_drill: Offer,
    /// What to think of when choosing a time (S4).
    pub advice: String,
    /// Cron expressions to choose from, and the same in words.
    pub presets: Vec<(String, String)>,
    pub drill_presets: Vec<(String, String)>,
    /// Names of time zones to choose from.
    pub zones: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleEntry {
    pub schedule: Schedule,
    /// "every day at 03:00"
    pub when: String,
    /// The next three.
    pub runs: Vec<NextRun>,
    /// What it does should be done since then, and is not.
    pub overdue_since: Option<Timestamp>,
    /// Of snapshots: how long they are kept, and how many that makes.
    pub kept: Option<String>,
    /// More often than once a day: what S4 says to that. Or why it never runs.
    pub advice: Option<String>,
    /// Whether the one who looks may change, pause and resume it.
    pub change: Offer,
    pub remove: Offer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    pub at: Timestamp,
    /// By the clock of the schedule's zone: "Mon 23 Nov 2026, 03:00 CET".
    pub local: String,
}

/// A page of the feed, newest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Feed {
    pub entries: Vec<ActivityEntry>,
    /// Give as `before` to get older ones; `None`: there are none.
    pub older: Option<i64>,
    /// Sequence number of the newest event contained: a live feed goes on after it.
    pub event: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivityEntry {
    pub activity: Activity,
    pub environment: EnvironmentName,
    /// "created a snapshot of main", after the initiator's name.
    pub description: String,
    /// The finished snapshot that the entry made, for its Restore link; for a restore: the one that was restored.
    pub snapshot: Option<SnapshotName>,
    /// The environment that it makes, if the one who looks may see it.
    pub branch: Option<EnvironmentName>,
    /// Where that snapshot was taken; the entry's environment, but for a restore from another one.
    pub source: EnvironmentName,
    /// For a finished restore: the safety snapshot, for its Undo link (R24).
    pub undo: Option<SnapshotName>,
    /// Whether Restore (of `snapshot`) and Undo are open to the one who looks.
    pub restore: Offer,
    pub cancel: Offer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    pub snapshot: Snapshot,
    pub restore: Offer,
    pub care: Care,
}

/// What the one who looks may do to a snapshot besides restoring it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Care {
    /// And take the protection off.
    pub protect: Offer,
    pub delete: Offer,
}

/// A deleted snapshot that can still be taken back (R14).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletedEntry {
    pub snapshot: Snapshot,
    pub deletion: Deletion,
    pub undelete: Offer,
}

/// Which snapshots of an environment go, when and why (R11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionPage {
    pub project: Project,
    pub environment: Environment,
    pub plan_title: String,
    pub told: Vec<Line>,
    /// Of this environment; sums are the project's.
    pub plan: RetentionPlan,
    pub deleted: Vec<DeletedEntry>,
}

/// What a project's plan says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanPage {
    pub project: Project,
    pub plan: PlanId,
    pub plan_title: String,
    /// There is a newer text of it, and what that would change: the project is under the one that it was put under.
    pub newer: Option<PlanChange>,
    pub told: Vec<(EnvironmentKind, Vec<Line>)>,
    /// What all snapshots of the project added to its storage.
    pub taken: Bytes,
    pub budget: Option<Bytes>,
    /// Those that a project can be put under.
    pub offered: Vec<(PlanId, String)>,
    pub change: Offer,
}

/// What another plan would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanChange {
    pub project: Project,
    pub from_title: String,
    pub to: PlanId,
    pub to_title: String,
    /// Only what differs: as it is, and as it becomes.
    pub told: Vec<(EnvironmentKind, Line, Line)>,
    /// Snapshots that stay under the present plan and go under that one.
    pub going: Vec<Decision>,
    /// Stands for all of it.
    pub hash: String,
}

/// What a year under a plan would leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulationPage {
    pub project: Project,
    pub plan: PlanId,
    pub kind: EnvironmentKind,
    pub every_hours: u32,
    /// The rule, in words.
    pub kept: String,
    pub simulation: Simulation,
    pub now: Timestamp,
    pub offered: Vec<(PlanId, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub seq: i64,
    pub at: Timestamp,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivityPage {
    pub project: Project,
    pub entry: ActivityEntry,
    pub log: Vec<LogLine>,
    /// The snapshot that it made, once it is complete.
    pub made: Option<Snapshot>,
    /// Its report, when it was a drill that succeeded (R29).
    pub drill: Option<Drill>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotPage {
    pub project: Project,
    pub environment: Environment,
    pub snapshot: Snapshot,
    pub manifest: Manifest,
    pub taken_by: Option<(ActivityId, String)>,
    pub restore: Offer,
    /// Whether the one who looks may take dumps out of it.
    pub dump: Offer,
    pub care: Care,
    /// What becomes of it by the plan.
    pub decision: Option<Decision>,
}

/// A service whose dump can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEntry {
    pub name: ServiceName,
    /// `sqlite`, …
    pub kind: String,
    pub dump: Offer,
}

/// What a restore would do, in plain words, before it is asked for (R25). The hash stands for all of it: a restore that
/// was confirmed for another state of things is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    pub project: Project,
    /// The one that is overwritten.
    pub environment: Environment,
    /// Where the snapshot was taken.
    pub source: EnvironmentName,
    /// The target is made, with the services and mounts of this one.
    pub branch_from: Option<EnvironmentName>,
    pub snapshot: Snapshot,
    /// Everything that the snapshot holds, and whether it was chosen (R26).
    pub choices: Vec<(PartName, bool)>,
    /// Environments that the one who looks may restore into.
    pub targets: Vec<EnvironmentName>,
    /// Whether a new one could be made for it.
    pub branch: Offer,
    pub changes: Vec<Change>,
    /// What stands in the environment and is not replaced.
    pub untouched: Vec<PartName>,
    /// How long the site will wait, and how long it will take, from past runs; sentences.
    pub expectations: Vec<String>,
    /// What is to be minded before anything else: maintenance, servers that are older than the snapshot's; sentences.
    pub warnings: Vec<String>,
    /// Of the servers: the snapshot's beside what it goes to.
    pub versions: Vec<Versions>,
    /// Why it can't be done now.
    pub obstacles: Vec<String>,
    pub hash: String,
    pub offer: Offer,
    /// The region lets support staff do it: whether the one who looks may file the ticket (R27).
    pub ticket: Option<Offer>,
}

/// The server that a service's snapshot was taken of, and the one that it goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub service: ServiceName,
    /// As the servers say of themselves.
    pub snapshot: String,
    pub server: String,
    /// The server is of an older series than the snapshot's.
    pub older: bool,
    /// It is another product: MySQL for MariaDB, Valkey for Redis, or the other way round.
    #[serde(default)]
    pub other: bool,
}

impl Versions {
    pub fn in_words(&self) -> String {
        let Self { service, snapshot, server, .. } = self;
        if snapshot == server {
            return format!("{service}: version {server}, as when the snapshot was taken");
        }
        format!("{service}: version {server} now, {snapshot} when the snapshot was taken")
    }
}

/// One part of the environment that a restore replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub part: Part,
    /// What will be there: "3,041 rows in 6 tables".
    pub becomes: String,
    /// What is there now and will be replaced.
    pub replaces: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    pub id: TokenId,
    pub name: String,
    pub grants: Grants,
    /// What it is narrowed to, in words.
    pub narrowed: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// One's own tokens, and what another one could be narrowed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensPage {
    pub tokens: Vec<TokenEntry>,
    pub places: Vec<TokenPlace>,
}

/// A project that a token may be for, or one environment of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPlace {
    pub project: Project,
    pub environments: Vec<Environment>,
}

/// Where a project's notices go, and what became of the last ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticesPage {
    pub project: Project,
    pub channels: Vec<ChannelEntry>,
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// The same of mail to single persons, with their addresses: who waits for a ticket. For operators alone.
    pub to_people: Option<Vec<(String, Delivery)>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelEntry {
    pub channel: Channel,
    /// Its newest delivery.
    pub last: Option<Delivery>,
}

/// A token's text: shown this once (R4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub entry: TokenEntry,
    pub text: super::Secret,
}

/// Who is in a project, and who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersPage {
    pub project: Project,
    pub members: Vec<MemberEntry>,
    /// Open ones; only for those who may manage.
    pub invitations: Vec<InvitationEntry>,
    pub manage: Offer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    pub project: ProjectId,
    pub user: UserId,
    pub email: String,
    pub roles: Roles,
    pub source: MemberSource,
    pub since: Option<Timestamp>,
    /// Only for those who may manage.
    pub last_seen_at: Option<Timestamp>,
    pub is_me: bool,
    /// The account is closed.
    pub is_closed: bool,
    pub change: Offer,
    pub remove: Offer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationEntry {
    pub id: InvitationId,
    pub project: ProjectId,
    pub email: String,
    pub roles: Roles,
    pub invited_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// An invitation's secret: shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvitation {
    pub entry: InvitationEntry,
    pub code: super::Secret,
}

/// What an invitation's link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    Open {
        project: Project,
        email: String,
        roles: Roles,
        invited_by: String,
        has_account: bool,
        me: Option<Me>,
    },
    /// Why it leads nowhere.
    Closed(Refusal),
}

/// One's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPage {
    pub me: Me,
    pub created_at: Timestamp,
    pub sessions: Vec<SessionEntry>,
    pub tokens: u64,
    /// Projects that one is a member of, and as what.
    pub projects: Vec<(Project, Roles)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    pub since: Option<Timestamp>,
    pub address: Option<String>,
    pub is_this: bool,
}

/// An account as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    pub id: UserId,
    pub email: String,
    pub operator: bool,
    pub support: bool,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    /// Projects that have no other admin.
    pub only_admin_of: Vec<ProjectId>,
    /// How many schedules run in its name.
    pub schedules: u64,
    pub is_me: bool,
    /// What can become of it.
    pub changes: Vec<(AccountChange, Offer)>,
}

impl AccountEntry {
    /// What closing it leaves behind that somebody should see to, sentences.
    pub fn left_behind(&self) -> Vec<String> {
        let project = |project: &ProjectId| {
            format!("The project {project} has no other admin: an operator gives it one, on its page Members.")
        };
        let schedules = (self.schedules > 0).then(|| {
            let these = counted(self.schedules, "schedule");
            format!("In its name run {these}: who changes one takes it over, else it is stopped when it is due next.")
        });
        self.only_admin_of.iter().map(project).chain(schedules).collect()
    }
}

/// A page of the audit, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// `None`: of the installation.
    pub project: Option<Project>,
    /// The project's, to choose among.
    pub environments: Vec<EnvironmentName>,
    pub entries: Vec<AuditEntry>,
    /// Give as `before` to get older ones; `None`: there are none.
    pub older: Option<i64>,
}
