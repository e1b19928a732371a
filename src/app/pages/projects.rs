//! `/`: the projects that one may see.

use leptos::prelude::*;

use crate::app::page::{heading, load};
use crate::app::present::{self, at};
use crate::app::views::condition;
use crate::domain::bytes::counted;
use crate::domain::view::ProjectCard;
use crate::ops;

#[component]
pub fn Projects() -> impl IntoView {
    load(
        |visit| async move {
            let projects = ops::projects::list(&visit.app, &visit.actor).await?;
            Ok((projects, visit.actor.me().operator))
        },
        |(projects, is_operator)| show(projects, is_operator),
    )
}

fn show(projects: Vec<ProjectCard>, is_operator: bool) -> AnyView {
    let empty = projects.is_empty().then(|| {
        view! {
            <div class="empty panel">
                <p class="empty-title">"No projects yet."</p>
                <p>
                    "You see a project here once you have a role in it. Operators add projects and their environments "
                    "with "<code>"stillpointd apply FILE"</code>"."
                </p>
            </div>
        }
    });
    view! {
        <div class="head">{heading("Projects".to_owned(), Vec::new())}</div>
        {empty}
        <ul class="cards">{projects.into_iter().map(card).collect_view()}</ul>
        {is_operator.then(|| view! { <p class="facts"><a href="/removed">"Removed projects"</a></p> })}
    }
    .into_any()
}

fn card(card: ProjectCard) -> AnyView {
    let href = at::project(&card.project.id);
    view! {
        <li class="card">
            <h2 class="card-title"><a class="card-link" href=href>{card.project.title}</a></h2>
            <p class="facts">
                <span class="mono">{card.project.id.to_string()}</span>
                <span>{format!("{} plan", card.plan_title)}</span>
                <span>{format!("region {}", card.project.region)}</span>
                <span>{counted(card.environments, "environment")}</span>
            </p>
            {condition(present::condition(&card.health))}
        </li>
    }
    .into_any()
}
