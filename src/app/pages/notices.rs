//! `/projects/:p/notices`: where the project's notices go, and what became of them.

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::islands::CopyButton;
use crate::app::model::Tone;
use crate::app::page::{done, form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{badge, date, icon};
use crate::app::visit;
use crate::authz::ManageNotices;
use crate::domain::ids::ProjectId;
use crate::domain::notice::{Channel, Delivery, DeliveryState, Notice, Way};
use crate::domain::view::{ChannelEntry, NoticesPage};
use crate::ops;

#[component]
pub fn Notices() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ManageNotices>(&visit.actor, &project).await?;
            ops::notices::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: NoticesPage) -> AnyView {
    let NoticesPage { project, channels, deliveries, to_people } = page;
    let deliveries = deliveries.into_iter().map(|delivery| (None, delivery)).collect();
    let to_people = to_people.map(|all| {
        let all = all.into_iter().map(|(address, delivery)| (Some(address), delivery)).collect();
        view! {
            <section class="panel" aria-labelledby="people">
                <header class="panel-head">
                    <h2 id="people">"Mail to single persons"</h2>
                    <span class="panel-note">"who waits for a ticket; only operators see this"</span>
                </header>
                {log(all)}
            </section>
        }
    });
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
    let number = channels.len();
    let list = if channels.is_empty() {
        view! {
            <div class="empty">
                <p class="empty-title">"Nobody is told yet."</p>
                <p>"Whoever does not look here learns of a failed snapshot only if it is sent somewhere."</p>
            </div>
        }
        .into_any()
    } else {
        let rows = channels.into_iter().map(|entry| channel(&project.id, entry)).collect_view();
        view! { <ul class="tokens">{rows}</ul> }.into_any()
    };
    view! {
        <div class="head">
            {heading("Notices".to_owned(), way)}
            <p class="lead">"What this project's people are told without looking: by mail, or as signed posts to a program."</p>
        </div>
        {done()}
        {made()}
        <div class="columns columns-even">
            <section class="panel" aria-labelledby="channels">
                <header class="panel-head">
                    <h2 id="channels">"Addresses"</h2>
                    <span class="panel-note">{number.to_string()}</span>
                </header>
                {problem("edit-channel")}
                {problem("remove-channel")}
                {problem("try-channel")}
                {list}
            </section>
            <section class="panel" aria-labelledby="add">
                <header class="panel-head"><h2 id="add">"Add an address"</h2></header>
                {problem("add-channel")}
                {form(&project.id)}
            </section>
        </div>
        <section class="panel" aria-labelledby="log">
            <header class="panel-head"><h2 id="log">"What became of them"</h2></header>
            {log(deliveries)}
        </section>
        {to_people}
    }
    .into_any()
}

/// The new channel's secret, this once.
fn made() -> impl IntoView {
    let Some(Flash::Signing { secret }) = Flash::here() else { return None };
    Some(view! {
        <section class="made" role="status" aria-labelledby="made">
            <h2 id="made">"Posts there are signed with this secret"</h2>
            <p>
                "Copy it now: it is shown this once. The header Stillpoint-Signature is t=SECONDS,v1=HEX: the \
                 HMAC-SHA256 of the seconds, a dot and the body."
            </p>
            <p class="made-text"><code class="mono">{secret.clone()}</code><CopyButton text=secret/></p>
        </section>
    })
}

fn channel(project: &ProjectId, entry: ChannelEntry) -> AnyView {
    let ChannelEntry { channel, last } = entry;
    let notices =
        channel.notices.iter().map(|notice| view! { <span class="tag">{notice.title()}</span> }).collect_view();
    let label = format!(" {}", channel.address);
    let fields = || {
        view! {
            {form_number()}
            <input type="hidden" name="project" value=project.to_string()/>
            <input type="hidden" name="channel" value=channel.id.to_string()/>
        }
    };
    let edit = edit(project, &channel);
    let way = match channel.way {
        Way::Mail => "mail",
        Way::Webhook => "post",
    };
    let last = match last {
        Some(delivery) => {
            view! { <span>"last "{date(present::moment(delivery.created_at))}": "{words(&delivery)}</span> }.into_any()
        }
        None => view! { <span>"nothing sent yet"</span> }.into_any(),
    };
    view! {
        <li class="token">
            <div>
                <p class="token-name wrap">{channel.address.clone()} <span class="tag tag-strong">{way}</span></p>
                <p class="facts">{notices}</p>
                <p class="facts facts-low">{last}</p>
                {edit}
            </div>
            <div class="buttons">
                <form method="post" action="/actions/try-channel">
                    {fields()}
                    <button class="button button-small">"Send a test"<span class="unseen">{label.clone()}</span></button>
                </form>
                <form method="post" action="/actions/remove-channel">
                    {fields()}
                    <button class="button button-small">
                        {icon("trash")}<span>"Remove"<span class="unseen">{label}</span></span>
                    </button>
                </form>
            </div>
        </li>
    }
    .into_any()
}

/// What was typed stays where it did not work.
fn edit(project: &ProjectId, channel: &Channel) -> AnyView {
    let id = channel.id.to_string();
    let is_tried = Flash::kept("edit-channel", "channel").as_deref() == Some(channel.id.as_str());
    let kept = |field: &str| Flash::kept("edit-channel", field).filter(|_| is_tried);
    let notices = Notice::ALL.into_iter().map(|notice| {
        let checked = match is_tried {
            true => kept(&format!("when[{notice}]")).is_some(),
            false => channel.notices.contains(&notice),
        };
        view! {
            <label class="check">
                <input type="checkbox" name=format!("when[{notice}]") value="on" checked=checked/>
                <span>{notice.title()}</span>
            </label>
        }
    });
    let signed = (channel.way == Way::Webhook).then(|| {
        view! {
            <label class="check">
                <input type="checkbox" name="new_secret" value="on" checked=kept("new_secret").is_some()/>
                <span>"Sign posts with a new secret, shown once; else the present one stays"</span>
            </label>
        }
    });
    let address = format!("address-{id}");
    view! {
        <details class="more" open=is_tried>
            <summary>"Change"<span class="unseen">{format!(" {}", channel.address)}</span></summary>
            <form method="post" action="/actions/edit-channel" class="form">
                {form_number()}
                <input type="hidden" name="project" value=project.to_string()/>
                <input type="hidden" name="channel" value=id/>
                <div class="field">
                    <label for=address.clone()>"Address"</label>
                    <input
                        id=address name="address" maxlength="500" required autocomplete="off"
                        value=kept("address").unwrap_or_else(|| channel.address.clone())
                    />
                </div>
                <fieldset class="options">
                    <legend>"When"</legend>
                    {notices.collect_view()}
                    {signed}
                </fieldset>
                <button class="button button-small">
                    "Save"<span class="unseen">{format!(" {}", channel.address)}</span>
                </button>
            </form>
        </details>
    }
    .into_any()
}

fn form(project: &ProjectId) -> AnyView {
    let kept = |field: &str| Flash::kept("add-channel", field);
    let is_first = kept("address").is_none();
    let chosen = kept("way").unwrap_or_else(|| Way::Mail.to_string());
    let ways = [(Way::Mail, "Mail"), (Way::Webhook, "Webhook: a signed post")].into_iter().map(|(way, text)| {
        view! { <option value=way.as_str() selected=way.as_str() == chosen>{text}</option> }
    });
    let notices = Notice::ALL.into_iter().map(|notice| {
        let checked = is_first || kept(&format!("when[{notice}]")).is_some();
        view! {
            <label class="check">
                <input type="checkbox" name=format!("when[{notice}]") value="on" checked=checked/>
                <span>{notice.title()}</span>
            </label>
        }
    });
    view! {
        <form method="post" action="/actions/add-channel" class="form">
            {form_number()}
            <input type="hidden" name="project" value=project.to_string()/>
            <div class="field">
                <label for="way">"How"</label>
                <select id="way" name="way">{ways.collect_view()}</select>
            </div>
            <div class="field">
                <label for="address">"Address"</label>
                <input
                    id="address" name="address" maxlength="500" required autocomplete="off"
                    placeholder="team@example.org, or https://example.org/hook" value=kept("address")
                />
            </div>
            <fieldset class="options">
                <legend>"When"</legend>
                {notices.collect_view()}
            </fieldset>
            <button class="button button-main">"Add it"</button>
        </form>
    }
    .into_any()
}

/// With the address of each that went to a single person.
fn log(deliveries: Vec<(Option<String>, Delivery)>) -> AnyView {
    if deliveries.is_empty() {
        return view! { <p class="empty">"Nothing was sent in the last 30 days."</p> }.into_any();
    }
    let rows = deliveries.into_iter().map(|(address, delivery)| {
        let (tone, word) = match delivery.state {
            DeliveryState::Delivered => (Tone::Good, "Delivered"),
            DeliveryState::GivenUp => (Tone::Bad, "Given up"),
            DeliveryState::Waiting if delivery.attempts == 0 => (Tone::Quiet, "Waiting"),
            DeliveryState::Waiting => (Tone::Attention, "Tried again"),
        };
        let about = match &delivery.activity {
            Some(activity) => {
                view! { <a href=at::activity(&delivery.project, activity)>{delivery.notice.title()}</a> }.into_any()
            }
            None => delivery.notice.title().into_any(),
        };
        view! {
            <tr>
                <td data-label="When">{date(present::moment(delivery.created_at))}</td>
                <th scope="row" data-label="What">{about}</th>
                <td data-label="Result">{badge(tone, tone.glyph(), word)}</td>
                <td data-label="Details" class="wrap">
                    {address.map(|address| format!("To {address}: "))}{words(&delivery)}
                </td>
            </tr>
        }
    });
    view! {
        <table class="plain">
            <caption class="unseen">"Notices, newest first"</caption>
            <thead>
                <tr>
                    <th scope="col">"When"</th><th scope="col">"What"</th><th scope="col">"Result"</th>
                    <th scope="col">"Details"</th>
                </tr>
            </thead>
            <tbody>{rows.collect_view()}</tbody>
        </table>
    }
    .into_any()
}

fn words(delivery: &Delivery) -> String {
    let tries = crate::domain::bytes::counted(delivery.attempts.into(), "try").replace("trys", "tries");
    let about = delivery.about.as_ref().map(|about| format!("{about} ")).unwrap_or_default();
    let came = match (delivery.state, &delivery.error) {
        (DeliveryState::Delivered, _) if delivery.attempts <= 1 => "delivered".to_owned(),
        (DeliveryState::Delivered, _) => format!("delivered after {tries}"),
        (DeliveryState::GivenUp, error) => format!("given up after {tries}: {}", error.as_deref().unwrap_or_default()),
        (DeliveryState::Waiting, None) => "not sent yet".to_owned(),
        (DeliveryState::Waiting, Some(error)) => format!("{error}; tried again"),
    };
    format!("{about}{came}")
}
