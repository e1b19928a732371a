//! Links to what lies beside a page. A refused one is shown and leads nowhere, with the reason in sight (R7).

use leptos::either::Either;
use leptos::prelude::*;

use super::{icon, reason};
use crate::app::model::Door;

/// A link of a row: its icon and its word.
#[derive(Debug, Clone)]
pub struct Way {
    pub glyph: Option<&'static str>,
    pub word: &'static str,
    pub to: Door,
}

/// Of the element that says why a way is closed.
fn because(word: &str) -> String {
    format!("why-no-{}", word.to_lowercase())
}

pub fn way(way: Way) -> impl IntoView {
    let Way { glyph, word, to } = way;
    let glyph = glyph.map(icon);
    if to.refusal.is_some() {
        let closed = view! {
            <a class="part" role="link" aria-disabled="true" aria-describedby=because(word)>{glyph}{word}</a>
        };
        return Either::Left(closed);
    }
    Either::Right(view! { <a class="part" href=to.href>{glyph}{word}</a> })
}

/// Why those of them are closed that are, a line each.
pub fn closed(ways: &[Way]) -> impl IntoView + use<> {
    let closed = ways.iter().filter_map(|way| Some((way.word, way.to.refusal.clone()?)));
    let lines = closed.map(|(word, text)| reason(because(word), format!("{word}: {text}")));
    lines.collect_view()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(refusal: Option<&str>) -> String {
        let to = Door { href: "/projects/shop/audit".to_owned(), refusal: refusal.map(str::to_owned) };
        let audit = Way { glyph: None, word: "Audit", to };
        Owner::new().with(|| format!("{}{}", closed(std::slice::from_ref(&audit)).to_html(), way(audit).to_html()))
    }

    #[test]
    fn an_open_way_is_a_link() {
        let html = drawn(None);
        assert!(html.contains(r#"href="/projects/shop/audit""#) && !html.contains("aria-disabled"), "{html}");
    }

    #[test]
    fn a_closed_way_leads_nowhere_and_says_why() {
        let html = drawn(Some("Only admins see the audit."));
        assert!(!html.contains("href=\"/projects") && html.contains(r#"aria-disabled="true""#), "{html}");
        assert!(html.contains(r#"aria-describedby="why-no-audit""#) && html.contains(r#"id="why-no-audit""#), "{html}");
        assert!(html.contains("Audit: Only admins see the audit."), "{html}");
    }
}
