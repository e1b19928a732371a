//! `/support/tickets`, the queue of support staff; `/projects/:p/tickets`, those of a project. Oldest first.

use leptos::prelude::*;

use crate::app::page::{heading, load, problem};
use crate::app::present::at;
use crate::app::views::{Of, ticket_table};
use crate::app::visit;
use crate::authz::ViewProject;
use crate::domain::environment::Project;
use crate::domain::ids::{ProjectId, RegionId};
use crate::domain::ticket::TicketState;
use crate::domain::view;
use crate::ops::Error;
use crate::ops::tickets::{self, Filter, Whose};

/// What the filter's fields say.
#[derive(Debug, Clone, Default)]
struct Chosen {
    /// Empty: unfinished ones.
    state: String,
    whose: String,
    region: Option<RegionId>,
    project: Option<ProjectId>,
}

const ALL: &str = "all";
const MINE: &str = "mine";

impl Chosen {
    fn here() -> Result<Self, Error> {
        let filled = |name| visit::query(name).filter(|text| !text.is_empty());
        Ok(Self {
            state: filled("state").unwrap_or_default(),
            whose: filled("whose").unwrap_or_default(),
            region: filled("region").map(|text| text.parse()).transpose()?,
            project: filled("project").map(|text| text.parse()).transpose()?,
        })
    }

    fn filter(&self) -> Filter {
        let states = match self.state.as_str() {
            ALL => Vec::new(),
            word => word.parse().map_or_else(|_| TicketState::UNFINISHED.to_vec(), |state| vec![state]),
        };
        let whose = if self.whose == MINE { Whose::Mine } else { Whose::Anybodys };
        Filter { id: None, states, project: self.project.clone(), region: self.region.clone(), whose }
    }
}

#[component]
pub fn Queue() -> impl IntoView {
    load(
        |visit| async move {
            let chosen = Chosen::here()?;
            Ok((tickets::queue(&visit.app, &visit.actor, chosen.filter()).await?, chosen))
        },
        |(queue, chosen)| show(queue, chosen),
    )
}

fn show(queue: view::Queue, chosen: Chosen) -> AnyView {
    let view::Queue { entries, projects, regions, is_cut } = queue;
    let projects = projects.into_iter().map(|(id, title)| (id.to_string(), title)).collect();
    let regions = regions.into_iter().map(|(id, title)| (id.to_string(), format!("{title} ({id})"))).collect();
    let is_default = chosen.state.is_empty() && chosen.whose.is_empty();
    let empty = match is_default && chosen.region.is_none() && chosen.project.is_none() {
        true => ("The queue is empty.", "Nobody waits for a restore."),
        false => ("No ticket is like that.", "Choose less, and press “Show”."),
    };
    view! {
        <div class="head">
            {heading("Support queue".to_owned(), Vec::new())}
            <p class="lead">"Restores that project admins asked for where their region does not let them do it themselves."</p>
        </div>
        {problem("ticket")}
        <form method="get" class="filter" aria-label="Which tickets">
            {field("state", "State", states(), &chosen.state)}
            {field("whose", "Whose", vec![(String::new(), "Everybody’s".to_owned()), (MINE.to_owned(), "Mine".to_owned())], &chosen.whose)}
            {field("region", "Region", any("Every region", regions), &text(chosen.region.as_ref()))}
            {field("project", "Project", any("Every project", projects), &text(chosen.project.as_ref()))}
            <button class="button">"Show"</button>
        </form>
        {list("Tickets of all projects, oldest first", entries, Of::All, empty)}
        {is_cut.then(|| view! { <p class="reason">"These are the oldest 500: choose less to see the others."</p> })}
    }
    .into_any()
}

fn text(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn any(all: &str, options: Vec<(String, String)>) -> Vec<(String, String)> {
    std::iter::once((String::new(), all.to_owned())).chain(options).collect()
}

fn states() -> Vec<(String, String)> {
    let mut all = vec![(String::new(), "Unfinished".to_owned())];
    all.extend(TicketState::ALL.into_iter().map(|state| (state.to_string(), state.label().to_owned())));
    all.push((ALL.to_owned(), "All".to_owned()));
    all
}

fn field(
    name: &'static str,
    label: &'static str,
    options: Vec<(String, String)>,
    chosen: &str,
) -> impl IntoView + use<> {
    let chosen = chosen.to_owned();
    let options = options.into_iter().map(move |(value, words)| {
        let is_chosen = value == chosen;
        view! { <option value=value selected=is_chosen>{words}</option> }
    });
    view! {
        <div class="field">
            <label for=name>{label}</label>
            <select id=name name=name>{options.collect_view()}</select>
        </div>
    }
}

fn list(
    caption: &'static str,
    entries: Vec<view::TicketEntry>,
    of: Of,
    (nothing, why): (&'static str, &'static str),
) -> AnyView {
    if entries.is_empty() {
        return view! { <div class="empty panel"><p class="empty-title">{nothing}</p><p>{why}</p></div> }.into_any();
    }
    view! { <section class="panel" aria-label="Tickets">{ticket_table(caption, entries, of)}</section> }.into_any()
}

/// Those of one project.
#[component]
pub fn Tickets() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            let chosen = Chosen { project: Some(project), ..Chosen::here()? };
            let queue = tickets::list(&visit.app, &visit.actor, chosen.filter()).await?;
            Ok((proof.on().project.clone(), queue, chosen))
        },
        |(project, queue, chosen)| show_project(project, queue, chosen),
    )
}

fn show_project(project: Project, queue: view::Queue, chosen: Chosen) -> AnyView {
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
    let empty = match chosen.state.is_empty() {
        true => {
            ("No ticket is unfinished.", "One is filed from a snapshot’s restore page, where the region asks for it.")
        }
        false => ("No ticket is like that.", "Choose another state, and press “Show”."),
    };
    view! {
        <div class="head">
            {heading("Restore tickets".to_owned(), way)}
            <p class="lead">"Restores into other environments that support staff was asked for."</p>
        </div>
        {problem("ticket")}
        <form method="get" class="filter" aria-label="Which tickets">
            {field("state", "State", states(), &chosen.state)}
            <button class="button">"Show"</button>
        </form>
        {list("Tickets of the project, oldest first", queue.entries, Of::OneProject, empty)}
    }
    .into_any()
}
