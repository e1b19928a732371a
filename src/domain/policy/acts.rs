//! Acts and roles (R1-R4): default deny.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Refusal, Verdict};
use crate::domain::environment::{Environment, EnvironmentKind, EnvironmentStatus, words};
use crate::domain::ids::{EnvironmentId, ProjectId};
use crate::domain::problem::sentence;

/// What a person or token wants to do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// See that the project exists: its title, and the environments that one may see.
    ViewProject,
    /// Feed, snapshots, logs, sizes, schedules (R2).
    ViewHistory,
    CreateSnapshot,
    RestoreSnapshot,
    /// Make a new environment, as a restore's target (R2, R21).
    CreateEnvironment,
    CancelActivity,
    /// Take contents out: R2's *contents*, which a development admin must not carry off from production.
    ReadContents,
    /// Really restore a snapshot beside the live data, to see that it can be (R29).
    RunDrill,
    /// Add, change, pause and remove schedules (R2).
    ManageSchedules,
    /// Invite, change roles, remove: on the project.
    ManageMembers,
    /// Where the project's notices go, and what became of them.
    ManageNotices,
    /// Who did what, also what was refused: on the project (R5).
    ViewAudit,
    /// File a restore ticket, and take it back (R28).
    FileTicket,
    /// Write to a ticket, and open it again: whoever may file one, and support staff.
    CommentTicket,
    /// Claim, decline and run tickets (R3).
    WorkTicket,
    /// Also: take the deletion back (R14).
    DeleteSnapshot,
    /// Pin, and take the pin off (R13).
    ProtectSnapshot,
    /// Merge the environment into its parent, or announce that: on both of them (R10).
    MergeEnvironment,
    /// Change how much storage is declared for a service or mount (R10).
    ChangeStorage,
    /// Put the project under another plan. The installation's operators alone: a plan says how long and how much the
    /// operator stores, and by another one a project admin would grant that to themselves, or let what others rely on go.
    ChangePlan,
    /// Take an environment out of the console: like restoring, on its type (R2).
    RemoveEnvironment,
    /// Put the project into another region (R27). Operators alone: it moves what they store.
    MoveProject,
    /// Take the whole project out of the console. Operators alone: they declared it, and keep its repository.
    RemoveProject,
    /// Let the snapshots of a removed project go before their time, and take that back (R14). Operators alone, as above.
    PurgeProject,
}

impl Act {
    pub const ALL: [Self; 24] = [
        Self::ViewProject,
        Self::ViewHistory,
        Self::CreateSnapshot,
        Self::RestoreSnapshot,
        Self::CreateEnvironment,
        Self::CancelActivity,
        Self::ReadContents,
        Self::RunDrill,
        Self::ManageSchedules,
        Self::ManageMembers,
        Self::ManageNotices,
        Self::ViewAudit,
        Self::FileTicket,
        Self::CommentTicket,
        Self::WorkTicket,
        Self::DeleteSnapshot,
        Self::ProtectSnapshot,
        Self::MergeEnvironment,
        Self::ChangeStorage,
        Self::ChangePlan,
        Self::RemoveEnvironment,
        Self::MoveProject,
        Self::RemoveProject,
        Self::PurgeProject,
    ];

    /// Whether the act shows what every role may see: what a read-only token may do (R4). Contents are more than that.
    pub fn reads_only(self) -> bool {
        matches!(self, Self::ViewProject | Self::ViewHistory)
    }

    /// As tokens name it: `create_snapshot`.
    pub fn word(self) -> String {
        let debug = format!("{self:?}");
        let mut word = String::new();
        for (at, letter) in debug.char_indices() {
            if letter.is_ascii_uppercase() && at > 0 {
                word.push('_');
            }
            word.push(letter.to_ascii_lowercase());
        }
        word
    }

    /// Whether it concerns the project as a whole, and so needs a role there.
    pub fn is_on_project(self) -> bool {
        matches!(self, Self::ManageMembers | Self::ManageNotices | Self::ViewAudit) || self.is_operators()
    }

    /// Whether the installation's operators alone do it, with or without a role.
    pub fn is_operators(self) -> bool {
        matches!(self, Self::ChangePlan | Self::MoveProject | Self::RemoveProject | Self::PurgeProject)
    }

    /// Whether it is left to do in an environment that was removed: looking, and what concerns its snapshots.
    pub fn is_left_when_removed(self) -> bool {
        match self {
            Self::ViewProject | Self::ViewHistory | Self::CancelActivity => true,
            Self::RestoreSnapshot | Self::ReadContents | Self::DeleteSnapshot | Self::ProtectSnapshot => true,
            Self::FileTicket | Self::CommentTicket | Self::WorkTicket => true,
            _ => self.is_on_project(),
        }
    }

    /// As in "… needs the admin role".
    pub fn gerund(self) -> &'static str {
        match self {
            Self::ViewProject => "seeing this project",
            Self::ViewHistory => "seeing this environment's history",
            Self::CreateSnapshot => "creating a snapshot",
            Self::RestoreSnapshot => "restoring a snapshot",
            Self::CreateEnvironment => "creating an environment",
            Self::CancelActivity => "cancelling an activity",
            Self::ReadContents => "taking data out of an environment",
            Self::RunDrill => "trying a restore",
            Self::ManageSchedules => "changing schedules",
            Self::ManageMembers => "managing members",
            Self::ManageNotices => "managing notices",
            Self::ViewAudit => "seeing the audit",
            Self::FileTicket => "filing or withdrawing a ticket",
            Self::CommentTicket => "writing to a ticket",
            Self::WorkTicket => "working on a ticket",
            Self::DeleteSnapshot => "deleting a snapshot",
            Self::ProtectSnapshot => "protecting a snapshot",
            Self::MergeEnvironment => "merging an environment",
            Self::ChangeStorage => "changing declared storage",
            Self::ChangePlan => "changing a project's plan",
            Self::RemoveEnvironment => "removing an environment",
            Self::MoveProject => "moving a project to another region",
            Self::RemoveProject => "removing a project",
            Self::PurgeProject => "purging a removed project",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.gerund())
    }
}

/// A role in the whole project. `admin` is admin on every type; `viewer` alone gives no type (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProjectRole {
    Admin,
    Viewer,
}

impl ProjectRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

/// A role on one type of environment, written `production:viewer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TypeRole {
    Viewer,
    Contributor,
    Admin,
}

impl TypeRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Contributor => "contributor",
            Self::Admin => "admin",
        }
    }
}

words!(ProjectRole, "a project role (admin, viewer)", [Self::Admin, Self::Viewer]);
words!(
    TypeRole,
    "a role on an environment type (admin, contributor, viewer)",
    [Self::Viewer, Self::Contributor, Self::Admin]
);

/// What a token is narrowed to (R4); empty lists narrow nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grants {
    #[serde(default)]
    pub projects: Vec<ProjectId>,
    #[serde(default)]
    pub types: Vec<EnvironmentKind>,
    #[serde(default)]
    pub environments: Vec<EnvironmentId>,
    #[serde(default)]
    pub acts: Vec<Act>,
    #[serde(default)]
    pub read_only: bool,
}

impl Grants {
    /// What it is narrowed to, in words; nothing where it is not. `name` knows what an environment is called.
    pub fn in_words(&self, name: impl Fn(&EnvironmentId) -> String) -> Vec<String> {
        let list = |words: Vec<String>| words.join(", ");
        let projects = self.projects.iter().map(ToString::to_string).collect::<Vec<_>>();
        let environments = self.environments.iter().map(name).collect::<Vec<_>>();
        let types = self.types.iter().map(|kind| kind.as_str().to_owned()).collect::<Vec<_>>();
        let acts = self.acts.iter().map(|act| act.gerund().to_owned()).collect::<Vec<_>>();
        let mut words = Vec::new();
        // An environment's words name its project.
        if environments.is_empty() && !projects.is_empty() {
            words.push(format!("only in {}", list(projects)));
        }
        if !environments.is_empty() {
            words.push(format!("only {}", list(environments)));
        }
        if !types.is_empty() {
            words.push(format!("only {} environments", list(types)));
        }
        if self.read_only {
            words.push("read only".to_owned());
        }
        if !acts.is_empty() {
            words.push(format!("beside reading only {}", list(acts)));
        }
        words
    }
}

/// What somebody is, with respect to one project, at the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Works restore tickets: sees every project's history (R3).
    pub support: bool,
    /// Runs the installation: sees every project. Acts in it only with a role of it (R1: default deny).
    pub operator: bool,
    pub role: Option<ProjectRole>,
    pub types: BTreeMap<EnvironmentKind, TypeRole>,
    /// Set when a token acts: never more than its owner's present role (R4).
    pub grants: Option<Grants>,
}

/// What an act is about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub project: &'a ProjectId,
    /// `None` for acts on the project as a whole.
    pub environment: Option<(&'a EnvironmentId, EnvironmentKind)>,
}

/// The answer to "may I": invisible things are answered as if they did not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Granted,
    Forbidden(Refusal),
    Invisible,
}

impl Standing {
    /// The role on a type: the project's admin is admin everywhere.
    pub fn on(&self, kind: EnvironmentKind) -> Option<TypeRole> {
        match self.role {
            Some(ProjectRole::Admin) => Some(TypeRole::Admin),
            _ => self.types.get(&kind).copied(),
        }
    }

    /// R1-R4: decides one act on one subject.
    pub fn decide(&self, act: Act, subject: &Subject<'_>) -> Access {
        if !self.sees(subject) {
            return Access::Invisible;
        }
        match self.role_allows(act, subject).and_then(|()| self.token_allows(act)) {
            Ok(()) => Access::Granted,
            Err(refusal) => Access::Forbidden(refusal),
        }
    }

    /// The same as a verdict, for something in an environment that is known to whoever asks.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may(&self, act: Act, environment: &Environment) -> Verdict {
        may_begin(act, environment)?;
        let subject = Subject { project: &environment.project, environment: Some((&environment.id, environment.kind)) };
        self.may_on(act, &subject)
    }

    /// The same where the environment may not exist yet, or any more.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_on(&self, act: Act, subject: &Subject<'_>) -> Verdict {
        match self.decide(act, subject) {
            Access::Granted => Ok(()),
            Access::Forbidden(refusal) => Err(refusal),
            // A role that was lost while the job waited: there is nothing to hide from its feed.
            Access::Invisible => Err(Refusal::new("Whoever asked for it has no role here any more.")),
        }
    }

    /// The same for an act on the project as a whole, which is known to whoever asks.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_in(&self, act: Act, project: &ProjectId) -> Verdict {
        match self.decide(act, &Subject { project, environment: None }) {
            Access::Granted => Ok(()),
            Access::Forbidden(refusal) => Err(refusal),
            Access::Invisible => Err(Refusal::new("Whoever asks has no role here any more.")),
        }
    }

    fn sees(&self, subject: &Subject<'_>) -> bool {
        let by_role = match subject.environment {
            None => self.role.is_some() || !self.types.is_empty(),
            Some((_, kind)) => self.on(kind).is_some(),
        };
        let by_token = self.grants.as_ref().is_none_or(|grants| grants.cover(subject));
        (by_role || self.support || self.operator) && by_token
    }

    fn role_allows(&self, act: Act, subject: &Subject<'_>) -> Verdict {
        if act.reads_only() {
            return Ok(());
        }
        if act.is_operators() {
            let text = match act {
                Act::ChangePlan => "The plan of a project is changed by the operators of the installation.".to_owned(),
                _ => sentence(&format!("{act} is for the operators of the installation.")),
            };
            return if self.operator { Ok(()) } else { Err(Refusal::new(text).instead("Ask one of them.")) };
        }
        if act.is_on_project() {
            return self.project_allows(act);
        }
        match act {
            Act::WorkTicket if !self.support => {
                return Err(Refusal::new("Working on tickets is for support staff."));
            }
            Act::WorkTicket | Act::CommentTicket if self.support => return Ok(()),
            _ => {}
        }
        let Some((_, kind)) = subject.environment else {
            return Err(Refusal::new(format!("Sorry, {act} is done on an environment.")));
        };
        match self.on(kind) {
            Some(TypeRole::Admin) => Ok(()),
            Some(role) => Err(needs_admin(act, kind, &format!("your role is {kind}:{role}"))),
            None if self.support => Err(needs_admin(act, kind, "support staff restore through a ticket only")),
            None => Err(needs_admin(act, kind, "you have no role in this project")),
        }
    }

    /// Operators too: who runs the installation gives a project its first admin, and finds out what was done.
    fn project_allows(&self, act: Act) -> Verdict {
        if self.operator || self.role == Some(ProjectRole::Admin) {
            return Ok(());
        }
        let but = match self.role {
            _ if self.support => "support staff can't do it".to_owned(),
            Some(role) => format!("your role is {role}"),
            None => "your roles are on environment types only".to_owned(),
        };
        let text = format!("{act} needs the admin role in the project; {but}.");
        Err(Refusal::new(sentence(&text)).instead("A project admin can do it, or give you the role."))
    }

    fn token_allows(&self, act: Act) -> Verdict {
        let Some(grants) = &self.grants else { return Ok(()) };
        if act.is_on_project() && !(grants.types.is_empty() && grants.environments.is_empty()) {
            return Err(Refusal::new(format!("This token is for some environments only; {act} concerns the project."))
                .instead("Use a token for the whole project, or the console."));
        }
        if grants.read_only && act == Act::ViewAudit {
            return Ok(());
        }
        if grants.read_only && !act.reads_only() {
            return Err(Refusal::new(format!("This token may only read; {act} is more than that."))
                .instead("Make a token without \u{201c}read only\u{201d} on the tokens page."));
        }
        if !act.reads_only() && !grants.acts.is_empty() && !grants.acts.contains(&act) {
            return Err(Refusal::new(format!("This token was not made for {act}."))
                .instead("Make one that allows it on the tokens page."));
        }
        Ok(())
    }
}

/// What was removed can be looked at and its snapshots used; nothing else is begun there.
///
/// # Errors
/// The refusal to show.
pub fn may_begin(act: Act, environment: &Environment) -> Verdict {
    if environment.status != EnvironmentStatus::Removed || act.is_left_when_removed() {
        return Ok(());
    }
    let (name, day) = (&environment.name, &environment.updated_at.table()[..10]);
    Err(Refusal::new(format!("The environment {name} was removed on {day}."))
        .instead("Its snapshots can be restored into another environment."))
}

impl Grants {
    fn cover(&self, subject: &Subject<'_>) -> bool {
        let project = self.projects.is_empty() || self.projects.contains(subject.project);
        let environment = subject.environment.is_none_or(|(id, kind)| {
            (self.types.is_empty() || self.types.contains(&kind))
                && (self.environments.is_empty() || self.environments.contains(id))
        });
        project && environment
    }
}

fn needs_admin(act: Act, kind: EnvironmentKind, but: &str) -> Refusal {
    let text = format!("{act} needs the admin role on {kind} environments; {but}.");
    Refusal::new(sentence(&text)).instead("A project admin can do it, or give you the role.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> ProjectId {
        ProjectId::parse("demo").expect("a valid id")
    }

    fn environment(digit: char) -> EnvironmentId {
        EnvironmentId::parse(digit.to_string().repeat(20)).expect("a valid id")
    }

    fn decide(standing: &Standing, act: Act, kind: EnvironmentKind) -> Access {
        let (project, id) = (project(), environment('a'));
        standing.decide(act, &Subject { project: &project, environment: Some((&id, kind)) })
    }

    fn production_viewer() -> Standing {
        Standing { types: [(EnvironmentKind::Production, TypeRole::Viewer)].into(), ..Standing::default() }
    }

    #[test]
    fn an_act_has_the_word_that_is_stored() {
        for act in Act::ALL {
            assert_eq!(serde_json::to_value(act).expect("a word"), act.word());
        }
    }

    #[test]
    fn what_a_token_is_narrowed_to_is_said_in_words() {
        let words = |grants: Grants| grants.in_words(|id| format!("the environment {} of demo", &id.as_str()[..1]));
        assert_eq!(words(Grants::default()), Vec::<String>::new());
        let project = Grants { projects: vec![project()], read_only: true, ..Grants::default() };
        assert_eq!(words(project.clone()), ["only in demo", "read only"]);
        let narrow = Grants {
            environments: vec![environment('a')],
            types: vec![EnvironmentKind::Staging],
            acts: vec![Act::CreateSnapshot, Act::RunDrill],
            read_only: false,
            ..project
        };
        assert_eq!(
            words(narrow),
            [
                "only the environment a of demo",
                "only staging environments",
                "beside reading only creating a snapshot, trying a restore"
            ]
        );
    }

    #[test]
    fn nobody_without_a_role_sees_anything() {
        for act in Act::ALL {
            assert_eq!(decide(&Standing::default(), act, EnvironmentKind::Production), Access::Invisible);
        }
    }

    #[test]
    fn a_viewer_sees_and_starts_nothing() {
        let viewer = production_viewer();
        assert_eq!(decide(&viewer, Act::ViewHistory, EnvironmentKind::Production), Access::Granted);
        for act in Act::ALL.into_iter().filter(|act| !act.reads_only()) {
            assert!(matches!(decide(&viewer, act, EnvironmentKind::Production), Access::Forbidden(_)), "{act}");
        }
    }

    #[test]
    fn a_type_without_a_role_is_invisible() {
        assert_eq!(decide(&production_viewer(), Act::ViewHistory, EnvironmentKind::Staging), Access::Invisible);
    }

    #[test]
    fn a_project_admin_may_do_everything_on_every_type() {
        let admin = Standing { role: Some(ProjectRole::Admin), ..Standing::default() };
        for act in Act::ALL.into_iter().filter(|act| !act.is_operators()) {
            for kind in EnvironmentKind::ALL {
                // Support staff's alone, whatever role somebody has.
                let granted = matches!(decide(&admin, act, kind), Access::Granted);
                assert_eq!(granted, act != Act::WorkTicket, "{act} on {kind}");
            }
        }
    }

    #[test]
    fn a_removed_environment_is_looked_at_and_restored_from_and_nothing_is_begun_in_it() {
        let at = crate::domain::Timestamp::from_micros(1_700_000_000_000_000);
        let mut removed = Environment {
            id: environment('a'),
            project: project(),
            name: "copy".parse().expect("a valid name"),
            title: "Copy".to_owned(),
            parent: None,
            kind: EnvironmentKind::Development,
            status: EnvironmentStatus::Removed,
            live: false,
            created_at: at,
            updated_at: at,
        };
        let admin = Standing { role: Some(ProjectRole::Admin), ..Standing::default() };
        for act in [Act::ViewHistory, Act::RestoreSnapshot, Act::ReadContents, Act::DeleteSnapshot, Act::FileTicket] {
            assert_eq!(admin.may(act, &removed), Ok(()), "{act}");
        }
        for act in [Act::CreateSnapshot, Act::RunDrill, Act::ManageSchedules, Act::RemoveEnvironment] {
            let refusal = admin.may(act, &removed).expect_err("it is not there any more").to_string();
            assert!(refusal.starts_with("The environment copy was removed on 2023-11-14."), "{act}: {refusal}");
        }
        removed.status = EnvironmentStatus::Inactive;
        assert_eq!(admin.may(Act::RemoveEnvironment, &removed), Ok(()));
    }

    #[test]
    fn only_operators_change_a_plan_and_a_token_for_something_else_does_not() {
        let operator = Standing { operator: true, ..Standing::default() };
        let admin = Standing { role: Some(ProjectRole::Admin), ..Standing::default() };
        let (project, subject) = (project(), |project| Subject { project, environment: None });
        assert_eq!(operator.decide(Act::ChangePlan, &subject(&project)), Access::Granted);
        assert!(matches!(admin.decide(Act::ChangePlan, &subject(&project)), Access::Forbidden(_)));
        let grants = Grants { acts: vec![Act::CreateSnapshot], ..Grants::default() };
        let narrowed = Standing { grants: Some(grants), ..operator };
        assert!(matches!(narrowed.decide(Act::ChangePlan, &subject(&project)), Access::Forbidden(_)));
    }

    #[test]
    fn support_and_operators_see_but_do_not_act_without_a_role() {
        for standing in
            [Standing { support: true, ..Standing::default() }, Standing { operator: true, ..Standing::default() }]
        {
            assert_eq!(decide(&standing, Act::ViewHistory, EnvironmentKind::Production), Access::Granted);
            let restore = decide(&standing, Act::RestoreSnapshot, EnvironmentKind::Production);
            assert!(matches!(restore, Access::Forbidden(_)));
        }
    }

    #[test]
    fn a_token_never_exceeds_its_owner_and_can_be_narrowed() {
        let admin = |grants| Standing { role: Some(ProjectRole::Admin), grants: Some(grants), ..Standing::default() };
        let read_only = admin(Grants { read_only: true, ..Grants::default() });
        assert!(matches!(decide(&read_only, Act::CreateSnapshot, EnvironmentKind::Staging), Access::Forbidden(_)));
        assert!(matches!(decide(&read_only, Act::ReadContents, EnvironmentKind::Staging), Access::Forbidden(_)));
        assert_eq!(decide(&read_only, Act::ViewHistory, EnvironmentKind::Staging), Access::Granted);

        let elsewhere = admin(Grants { environments: vec![environment('b')], ..Grants::default() });
        assert_eq!(decide(&elsewhere, Act::ViewHistory, EnvironmentKind::Staging), Access::Invisible);

        let only_snapshots = admin(Grants { acts: vec![Act::CreateSnapshot], ..Grants::default() });
        assert_eq!(decide(&only_snapshots, Act::CreateSnapshot, EnvironmentKind::Staging), Access::Granted);
        assert!(matches!(
            decide(&only_snapshots, Act::RestoreSnapshot, EnvironmentKind::Staging),
            Access::Forbidden(_)
        ));

        let viewers = Standing { grants: Some(Grants::default()), ..production_viewer() };
        assert!(matches!(decide(&viewers, Act::CreateSnapshot, EnvironmentKind::Production), Access::Forbidden(_)));
    }

    #[test]
    fn a_refusal_says_which_role_is_missing_and_what_to_do() {
        let Access::Forbidden(refusal) = decide(&production_viewer(), Act::CreateSnapshot, EnvironmentKind::Production)
        else {
            panic!("a viewer was not refused")
        };
        assert_eq!(
            refusal.to_string(),
            "Creating a snapshot needs the admin role on production environments; your role is production:viewer. \
             A project admin can do it, or give you the role."
        );
    }
}
