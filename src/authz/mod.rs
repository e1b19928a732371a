//! Who is asking, and the proof that they may.
//!
//! **Invariant:** [`Authorized`] is minted here and nowhere else, after the role was loaded and the pure rule asked. It
//! says *whom* and *on what*: an operation takes its environment from the proof, never from the request.

mod actor;
mod gatekeeper;
mod proof;

pub use actor::{Actor, Authority};
pub use gatekeeper::{Denied, Need};
pub(crate) use gatekeeper::{
    is_there, may, on_activity, on_environment, on_installation, on_project, on_ticket, requester, standing,
    standing_of,
};
pub use proof::{
    Authorized, CancelActivity, ChangePlan, ChangeStorage, CommentTicket, CreateSnapshot, DeleteSnapshot, FileTicket,
    ManageMembers, ManageNotices, ManageSchedules, MergeEnvironment, MoveProject, OnEnvironment, OnProject, OnTicket,
    Operator, Permission, ProtectSnapshot, PurgeProject, ReadContents, RemoveEnvironment, RemoveProject,
    RestoreSnapshot, RunDrill, ViewAudit, ViewHistory, ViewProject, ViewTicket, WorkTicket,
};
