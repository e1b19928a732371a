//! Which lines of an audit a page or a download is asked for.

use serde::Deserialize;

use super::visit::query;
use crate::authz::{Actor, Need, ViewAudit};
use crate::domain::Timestamp;
use crate::domain::audit::AuditFilter;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::time::DAY;
use crate::ops::audit::Scope;
use crate::ops::{self, Error};

/// As it stands in an address.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct AuditAsked {
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub outcome: String,
    #[serde(default)]
    pub environment: String,
    /// Days, or instants: `2026-11-22`, `2026-11-22T10:00:00Z`.
    #[serde(default)]
    pub since: String,
    #[serde(default)]
    pub until: String,
    #[serde(default)]
    pub before: String,
    #[serde(default)]
    pub format: Option<String>,
}

impl AuditAsked {
    /// Of the page's query.
    pub fn here() -> Self {
        let text = |name| query(name).unwrap_or_default();
        Self {
            kind: text("kind"),
            who: text("who"),
            outcome: text("outcome"),
            environment: text("environment"),
            since: text("since"),
            until: text("until"),
            before: text("before"),
            format: None,
        }
    }

    /// # Errors
    /// [`Error::Invalid`] for what is no environment or no instant.
    pub fn filter(&self) -> Result<AuditFilter, Error> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let instant = |text: &str, which: fn(Timestamp) -> Timestamp| {
            let Some(text) = some(text) else { return Ok(None) };
            let not_one = || Error::invalid(format!("`{text}` is no day like 2026-11-22."));
            match text.parse::<Timestamp>() {
                Ok(instant) => Ok(Some(instant)),
                Err(_) => {
                    let day = format!("{text}T00:00:00Z").parse().map_err(|_| not_one())?;
                    Ok::<_, Error>(Some(which(day)))
                }
            }
        };
        Ok(AuditFilter {
            kinds: some(&self.kind).into_iter().collect(),
            name: some(&self.who).map(|who| who.to_lowercase()),
            outcome: some(&self.outcome),
            environment: some(&self.environment).map(EnvironmentName::parse).transpose()?,
            since: instant(&self.since, |day| day)?,
            // The day that is named is the last one.
            until: instant(&self.until, |day| day.plus(DAY))?,
            before: self.before.trim().parse().ok(),
            ..AuditFilter::default()
        })
    }

    /// The proof for the project's audit, or (`None`) the installation's.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Forbidden`].
    pub async fn scope(&self, app: &ops::App, actor: &Actor, project: Option<&str>) -> Result<Scope, Error> {
        let Some(project) = project else {
            return Ok(Scope::Installation(app.authorize_operator(actor, Need::Look).await?));
        };
        let project = ProjectId::parse(project).map_err(|_| Error::NotFound("project"))?;
        Ok(Scope::Project(Box::new(app.authorize_project::<ViewAudit>(actor, &project).await?)))
    }

    /// The same as a query, from `before` on.
    pub fn query(&self, before: Option<i64>) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in [
            ("kind", &self.kind),
            ("who", &self.who),
            ("outcome", &self.outcome),
            ("environment", &self.environment),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if !value.is_empty() {
                pairs.append_pair(key, value);
            }
        }
        if let Some(before) = before {
            pairs.append_pair("before", &before.to_string());
        }
        pairs.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_what_is_none_is_refused() {
        let asked = AuditAsked { since: "2026-11-21".into(), until: "2026-11-22".into(), ..AuditAsked::default() };
        let filter = asked.filter().expect("two days");
        let text = |at: Option<Timestamp>| at.map(Timestamp::table).unwrap_or_default();
        assert_eq!(
            (text(filter.since).as_str(), text(filter.until).as_str()),
            ("2026-11-21 00:00:00", "2026-11-23 00:00:00")
        );
        assert!(AuditAsked { since: "yesterday".into(), ..AuditAsked::default() }.filter().is_err());
        assert!(AuditAsked { environment: "../x".into(), ..AuditAsked::default() }.filter().is_err());
    }

    #[test]
    fn what_was_asked_goes_on_to_the_next_page() {
        let asked =
            AuditAsked { kind: "project.member".into(), who: "a+b@example.org".into(), ..AuditAsked::default() };
        assert_eq!(asked.query(Some(7)), "kind=project.member&who=a%2Bb%40example.org&before=7");
    }
}
