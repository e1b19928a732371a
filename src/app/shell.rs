//! The HTML document round every page, and which page stands at which address.

use http::request::Parts;
use http::{HeaderValue, header};
use leptos::config::LeptosOptions;
use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use leptos_meta::{MetaTags, provide_meta_context};
use leptos_router::components::{Route, Router, Routes};
use leptos_router::{SsrMode, path};

use super::flash::{Flash, cookie};
use super::islands::Theme;
use super::{page, pages, security};

/// What the bundle offers: leptos' names for script and module, and where the style sheet lies.
#[derive(Debug, Clone)]
pub struct Assets {
    pub options: LeptosOptions,
    /// Address of the style sheet, e.g. `/pkg/stillpoint.0a1b2c.css`.
    pub stylesheet: String,
}

pub fn document(assets: &Assets) -> impl IntoView + use<> {
    provide_meta_context();
    Flash::take();
    protect();
    let Assets { options, stylesheet } = assets.clone();
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme().attribute()>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <meta name="theme-color" content="#f6f7f7" media="(prefers-color-scheme: light)"/>
                <meta name="theme-color" content="#0f1315" media="(prefers-color-scheme: dark)"/>
                <link rel="stylesheet" href=stylesheet/>
                <link rel="icon" href="/favicon.svg" r#type="image/svg+xml"/>
                <HydrationScripts options=options islands=true/>
                <MetaTags/>
            </head>
            <body>
                <div hidden inner_html=include_str!("sprite.svg")></div>
                <Console/>
            </body>
        </html>
    }
}

/// Every page; rendered whole before it is sent, so that its status is right.
#[component]
pub fn Console() -> impl IntoView {
    let whole = SsrMode::Async;
    view! {
        <Router>
            <Routes fallback=page::not_found>
                <Route path=path!("/") view=pages::projects::Projects ssr=whole.clone()/>
                <Route path=path!("/setup") view=pages::setup::Setup ssr=whole.clone()/>
                <Route path=path!("/login") view=pages::login::Login ssr=whole.clone()/>
                <Route path=path!("/join") view=pages::join::Join ssr=whole.clone()/>
                <Route path=path!("/reset") view=pages::reset::Reset ssr=whole.clone()/>
                <Route path=path!("/account") view=pages::account::Account ssr=whole.clone()/>
                <Route path=path!("/accounts") view=pages::accounts::Accounts ssr=whole.clone()/>
                <Route path=path!("/audit") view=pages::audit::Audit ssr=whole.clone()/>
                <Route path=path!("/projects/:project/members") view=pages::members::Members ssr=whole.clone()/>
                <Route path=path!("/projects/:project/notices") view=pages::notices::Notices ssr=whole.clone()/>
                <Route path=path!("/projects/:project/audit") view=pages::audit::Audit ssr=whole.clone()/>
                <Route path=path!("/tokens") view=pages::tokens::Tokens ssr=whole.clone()/>
                <Route path=path!("/projects/:project") view=pages::project::Project ssr=whole.clone()/>
                <Route path=path!("/support/tickets") view=pages::tickets::Queue ssr=whole.clone()/>
                <Route path=path!("/projects/:project/tickets") view=pages::tickets::Tickets ssr=whole.clone()/>
                <Route path=path!("/projects/:project/tickets/:ticket") view=pages::ticket::Ticket ssr=whole.clone()/>
                <Route
                    path=path!("/projects/:project/tickets/:ticket/evidence")
                    view=pages::evidence::Evidence
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/snapshots/:snapshot/ticket")
                    view=pages::new_ticket::NewTicket
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/activities/:activity")
                    view=pages::activity::Activity
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment")
                    view=pages::environment::Environment
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/merge")
                    view=pages::merge::Merge
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/storage")
                    view=pages::storage::Storage
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/remove")
                    view=pages::remove_environment::RemoveEnvironment
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/remove")
                    view=pages::remove_project::RemoveProject
                    ssr=whole.clone()
                />
                <Route path=path!("/removed") view=pages::removed::RemovedProjects ssr=whole.clone()/>
                <Route path=path!("/projects/:project/removed") view=pages::removed::Removed ssr=whole.clone()/>
                <Route path=path!("/projects/:project/region") view=pages::region::Region ssr=whole.clone()/>
                <Route path=path!("/projects/:project/plan") view=pages::plan::Plan ssr=whole.clone()/>
                <Route
                    path=path!("/projects/:project/plan/simulation")
                    view=pages::simulation::Simulation
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/retention")
                    view=pages::retention::Retention
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/schedules")
                    view=pages::schedules::Schedules
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/snapshots/new")
                    view=pages::new_snapshot::NewSnapshot
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/snapshots/:snapshot")
                    view=pages::snapshot::Snapshot
                    ssr=whole.clone()
                />
                <Route
                    path=path!("/projects/:project/environments/:environment/snapshots/:snapshot/restore")
                    view=pages::restore::Restore
                    ssr=whole
                />
            </Routes>
        </Router>
    }
}

/// The colours that were chosen, from their cookie.
pub fn theme() -> Theme {
    let chosen = use_context::<Parts>().and_then(|parts| cookie(&parts, Theme::COOKIE));
    chosen.and_then(|word| Theme::ALL.into_iter().find(|theme| theme.word() == word)).unwrap_or_default()
}

/// The page's content policy, with the nonce that its scripts carry. Pages show who is logged in: nothing stores them.
fn protect() {
    let (Some(nonce), Some(response)) = (use_nonce(), use_context::<ResponseOptions>()) else { return };
    if let Ok(policy) = HeaderValue::from_str(&security::content_policy(&nonce)) {
        response.insert_header(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
