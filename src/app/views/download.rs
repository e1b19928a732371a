//! The dumps of services that can be downloaded: links, or disabled buttons where the one who looks may not (R7).

use leptos::prelude::*;

use super::{Weight, door, reason};
use crate::app::model::Download;

const REASON: &str = "dump-reason";

/// One service's: as it is, and packed.
pub fn download(of: Download) -> AnyView {
    let Download { service, plain, packed, .. } = of;
    let about = || Some(format!("a dump of {service}"));
    view! {
        <p class="downloads">
            {door(plain, Weight::Small, "download", "Download", about(), REASON.to_owned())}
            {door(packed, Weight::Small, "download", "gzip", about(), REASON.to_owned())}
        </p>
    }
    .into_any()
}

/// Why none can be had, once for all of them.
pub fn downloads_reason(refusal: Option<String>) -> impl IntoView {
    refusal.map(|text| reason(REASON.to_owned(), text))
}

/// Those of an environment as it is now, folded away until somebody asks.
pub fn downloads(all: Vec<Download>, refusal: Option<String>) -> AnyView {
    if all.is_empty() {
        return ().into_any();
    }
    let rows = all.into_iter().map(|of| {
        let (service, what) = (of.service.clone(), of.what.clone());
        view! {
            <li class="download">
                <span class="mono">{service}</span>
                <span class="download-what">{what}</span>
                {download(of)}
            </li>
        }
    });
    view! {
        <details class="more">
            <summary>"Download a database as it is now"</summary>
            {downloads_reason(refusal)}
            <ul class="download-list">{rows.collect_view()}</ul>
        </details>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::model::Door;

    fn of(refusal: Option<&str>) -> Download {
        let door = |href: &str| Door { href: href.to_owned(), refusal: refusal.map(str::to_owned) };
        Download {
            service: "database".to_owned(),
            what: "SQLite".to_owned(),
            plain: door("/d"),
            packed: door("/d?compress=gzip"),
        }
    }

    #[test]
    fn an_open_download_is_a_link_that_names_its_service() {
        let html = downloads(vec![of(None)], None).to_html();
        assert!(html.contains(r#"href="/d""#) && html.contains(r#"href="/d?compress=gzip""#), "{html}");
        assert!(html.contains(" a dump of database") && !html.contains("disabled"), "{html}");
    }

    #[test]
    fn a_refused_download_is_a_disabled_button_with_its_reason_in_sight() {
        let html = downloads(vec![of(Some("Admins only."))], Some("Admins only.".to_owned())).to_html();
        assert!(html.contains("disabled") && !html.contains("href=\"/d"), "{html}");
        assert!(html.contains(r#"aria-describedby="dump-reason""#) && html.contains("Admins only."), "{html}");
    }

    #[test]
    fn an_environment_without_services_offers_none() {
        assert!(!downloads(Vec::new(), None).to_html().contains("<details"));
    }
}
