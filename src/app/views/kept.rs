//! One snapshot in a list: a table row, and a card on a phone.

use leptos::either::Either;
use leptos::prelude::*;

use super::{Clock, Weight, date, door, icon, time};
use crate::app::model::Kept;

/// `caption`: what the table lists, for those who don't see what stands round it.
pub fn kept_table(
    caption: &'static str,
    snapshots: Vec<Kept>,
    refusal_shown: &Option<String>,
) -> impl IntoView + use<> {
    let rows = snapshots.into_iter().map(|kept| kept_row(kept, refusal_shown.clone())).collect_view();
    view! {
        <table class="kept">
            <caption class="unseen">{caption}</caption>
            {kept_head()}
            <tbody>{rows}</tbody>
        </table>
    }
}

fn kept_head() -> impl IntoView {
    view! {
        <thead>
            <tr>
                <th scope="col">"Snapshot"</th>
                <th scope="col" class="number">"Size"</th>
                <th scope="col" class="number">"Gate closed"</th>
                <th scope="col">"Expires"</th>
                <th scope="col"><span class="unseen">"Restore"</span></th>
            </tr>
        </thead>
    }
}

/// `refusal_shown`: as in [`super::entry()`].
fn kept_row(kept: Kept, refusal_shown: Option<String>) -> impl IntoView {
    let Kept { name, href, taken, expires, origin, consistency, protection, note, size, added, closed, restore } = kept;
    let reason = format!("reason-{name}");
    let own = restore.refusal.clone().filter(|text| Some(text) != refusal_shown.as_ref());
    let described_by = if own.is_some() { reason.clone() } else { "restore-reason".to_owned() };
    let about = Some(name.clone());
    view! {
        <tr>
            <th scope="row" data-label="Snapshot">
                <div class="kept-what">
                    <a class="kept-when" href=href>{date(taken)}</a>
                    <span class="name">{name}</span>
                    <span class="kept-facts">{format!("{origin} · {consistency}")}</span>
                    {protection.map(|text| view! { <span class="kept-facts">{icon("key")}{text}</span> })}
                    {note.map(|note| view! { <span class="kept-note">{format!("“{note}”")}</span> })}
                </div>
            </th>
            <td data-label="Size" class="number">
                <span>{size}</span>
                <span class="second">{format!("+{added}")}<span class="unseen">" added"</span></span>
            </td>
            <td data-label="Gate closed" class="number">{closed.unwrap_or_else(|| "not closed".to_owned())}</td>
            <td data-label="Expires">
                {match expires {
                    Some(expires) => Either::Left(time(expires, Clock::Day)),
                    None => Either::Right("not by age"),
                }}
            </td>
            <td class="acts">
                {door(restore, Weight::Small, "restore", "Restore", about, described_by)}
                {own.map(|text| super::reason(reason, text))}
            </td>
        </tr>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::model::{Door, Moment};

    fn kept(refusal: Option<&str>) -> Kept {
        let moment = Moment { iso: "2026-11-21T22:14:05Z".to_owned(), text: "21 Nov 2026, 22:14 UTC".to_owned() };
        Kept {
            name: "2ca4d90639f706283fee".to_owned(),
            href: "/s".to_owned(),
            taken: moment,
            expires: None,
            origin: "manual".to_owned(),
            consistency: "consistent".to_owned(),
            protection: None,
            note: None,
            size: "1.0 MiB".to_owned(),
            added: "1.0 KiB".to_owned(),
            closed: Some("38 ms".to_owned()),
            restore: Door { href: "/s/restore".to_owned(), refusal: refusal.map(str::to_owned) },
        }
    }

    #[test]
    fn an_open_restore_is_a_link() {
        let html = kept_row(kept(None), None).to_html();
        assert!(html.contains(r#"href="/s/restore""#) && !html.contains("disabled"), "{html}");
        assert!(html.contains(r#"datetime="2026-11-21T22:14:05Z""#), "{html}");
    }

    #[test]
    fn a_refused_restore_is_a_disabled_button_with_its_reason_in_sight() {
        let html = kept_row(kept(Some("Admins only.")), None).to_html();
        assert!(html.contains("disabled") && !html.contains("/s/restore"), "{html}");
        assert!(html.contains(r#"aria-describedby="reason-2ca4d90639f706283fee""#), "{html}");
        assert!(html.contains("Admins only."), "{html}");
    }

    #[test]
    fn a_reason_that_stands_above_the_list_is_not_repeated() {
        let shown = Some("Admins only.".to_owned());
        let html = kept_row(kept(Some("Admins only.")), shown).to_html();
        assert!(html.contains(r#"aria-describedby="restore-reason""#) && !html.contains("Admins only."), "{html}");
    }
}
