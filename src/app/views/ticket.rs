//! Restore tickets in a list, and the small parts of their pages.

use leptos::prelude::*;

use super::{badge, date, icon};
use crate::app::model::Tone;
use crate::app::page::form_number;
use crate::app::present::{self, at};
use crate::domain::ticket::{Ticket, TicketAct, TicketState};
use crate::domain::time::span;
use crate::domain::view::TicketEntry;

/// Whether the project is named beside each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    OneProject,
    All,
}

pub fn ticket_table(caption: &'static str, entries: Vec<TicketEntry>, of: Of) -> impl IntoView {
    let project = (of == Of::All).then(|| view! { <th scope="col">"Project"</th> });
    view! {
        <table class="kept">
            <caption class="unseen">{caption}</caption>
            <thead>
                <tr>
                    <th scope="col">"Restore"</th>
                    {project}
                    <th scope="col">"Asked for by"</th>
                    <th scope="col">"Age"</th>
                    <th scope="col">"State"</th>
                    <th scope="col"><span class="unseen">"Act"</span></th>
                </tr>
            </thead>
            <tbody>{entries.into_iter().map(|entry| row(entry, of)).collect_view()}</tbody>
        </table>
    }
}

fn row(entry: TicketEntry, of: Of) -> AnyView {
    let open = entry.offers(TicketAct::Claim);
    let TicketEntry { ticket, project_title, age, region, .. } = entry;
    let href = at::ticket(&ticket.project, &ticket.id);
    let project = (of == Of::All).then(|| {
        view! {
            <td data-label="Project">
                <a href=at::project(&ticket.project)>{project_title}</a>
                <span class="second">{format!("region {region}")}</span>
            </td>
        }
    });
    let (source, target) = (ticket.wanted.source.name.to_string(), ticket.wanted.target.name.to_string());
    let new = ticket.wanted.target.branch_from.is_some().then_some(" (new)");
    let claim = open.then(|| {
        view! {
            <form method="post" action="/actions/ticket">
                {fields(&ticket)}
                <input type="hidden" name="act" value=TicketAct::Claim.as_str()/>
                <button class="button button-small">
                    {icon("ticket")}<span>"Claim"<span class="unseen">{format!(" {source} into {target}")}</span></span>
                </button>
            </form>
        }
    });
    view! {
        <tr>
            <th scope="row" data-label="Restore">
                <div class="kept-what">
                    <a class="kept-when" href=href>{format!("{source} into {target}")}{new}</a>
                    <span class="kept-facts">"as of "{date(present::moment(ticket.wanted.taken_at))}</span>
                    <span class="kept-note clip">{format!("“{}”", ticket.wanted.reason)}</span>
                </div>
            </th>
            {project}
            <td data-label="Asked for by" class="wrap">{ticket.requester.name.clone()}</td>
            <td data-label="Age">{span(age)}</td>
            <td data-label="State">
                {ticket_state(&ticket)}
                {worker(&ticket).map(|name| view! { <span class="second wrap">{name}</span> })}
            </td>
            <td class="acts">{claim}</td>
        </tr>
    }
    .into_any()
}

fn worker(ticket: &Ticket) -> Option<String> {
    ticket.claimer.as_ref().filter(|_| ticket.state == TicketState::InProgress).map(|claimer| claimer.name.clone())
}

/// What every form of a ticket sends.
pub fn fields(ticket: &Ticket) -> impl IntoView + use<> {
    view! {
        {form_number()}
        <input type="hidden" name="project" value=ticket.project.to_string()/>
        <input type="hidden" name="ticket" value=ticket.id.to_string()/>
    }
}

/// A field for several lines. Leptos writes what stands in a `textarea` as it is: here it is escaped, and nothing stands
/// in an empty one.
pub fn text_area(name: &'static str, rows: u8, kept: Option<String>, must: Must) -> AnyView {
    let hint = format!("{name}-hint");
    let required = must == Must::BeFilled;
    let rows = rows.to_string();
    match kept.filter(|text| !text.is_empty()) {
        None => view! {
            <textarea id=name name=name rows=rows maxlength="2000" required=required aria-describedby=hint></textarea>
        }
        .into_any(),
        Some(text) => {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            view! {
                <textarea id=name name=name rows=rows maxlength="2000" required=required aria-describedby=hint>{text}</textarea>
            }
            .into_any()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    BeFilled,
    Nothing,
}

pub fn tone(ticket: &Ticket) -> Tone {
    match ticket.state {
        TicketState::Open => Tone::Attention,
        TicketState::InProgress => Tone::Busy,
        TicketState::Restored => Tone::Good,
        TicketState::Declined => Tone::Bad,
        TicketState::Withdrawn => Tone::Quiet,
    }
}

pub fn ticket_state(ticket: &Ticket) -> AnyView {
    let glyph = if ticket.state == TicketState::Open { "clock" } else { tone(ticket).glyph() };
    let mut word = ticket.state.label().to_owned();
    word.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    badge(tone(ticket), glyph, word).into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_in_a_field_of_several_lines_stays_text() {
        let html = text_area("text", 3, Some("</textarea><script>1 & 2\nthree".to_owned()), Must::Nothing).to_html();
        assert!(html.contains(">&lt;/textarea&gt;&lt;script&gt;1 &amp; 2\nthree</textarea>"), "{html}");
        let html = text_area("text", 3, None, Must::BeFilled).to_html();
        assert!(html.contains("></textarea>") && html.contains("required"), "{html}");
    }
}
