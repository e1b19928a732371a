//! The role × act table, printed so that a person can read it: a change of the rules shows in its diff.

use std::fmt::Write as _;

use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::acts::{Access, Act, Subject};
use stillpoint::domain::policy::{Grants, ProjectRole, Standing, TypeRole};
use stillpoint::domain::{EnvironmentId, ProjectId};

#[test]
fn every_role_may_exactly_what_the_table_says() {
    let project = ProjectId::parse("shop").expect("a valid id");
    let environment = EnvironmentId::parse("a".repeat(20)).expect("a valid id");
    let on = |role| Standing { types: [(EnvironmentKind::Production, role)].into(), ..Standing::default() };
    let admin = Standing { role: Some(ProjectRole::Admin), ..Standing::default() };
    let read_only = Grants { read_only: true, ..Grants::default() };
    let rows = [
        ("nobody", Standing::default()),
        ("project viewer without a type", Standing { role: Some(ProjectRole::Viewer), ..Standing::default() }),
        ("production:viewer", on(TypeRole::Viewer)),
        ("production:contributor", on(TypeRole::Contributor)),
        ("production:admin", on(TypeRole::Admin)),
        ("project admin", admin.clone()),
        ("project admin, read-only token", Standing { grants: Some(read_only), ..admin }),
        ("support", Standing { support: true, ..Standing::default() }),
        ("operator", Standing { operator: true, ..Standing::default() }),
    ];
    let mut table = String::new();
    for kind in [EnvironmentKind::Production, EnvironmentKind::Development] {
        let _ = writeln!(table, "on a {kind} environment");
        for (name, standing) in &rows {
            let _ = write!(table, "  {name:<32}");
            for act in Act::ALL {
                let subject = Subject { project: &project, environment: Some((&environment, kind)) };
                let answer = match standing.decide(act, &subject) {
                    Access::Granted => "yes",
                    Access::Forbidden(_) => "no",
                    Access::Invisible => "-",
                };
                let _ = write!(table, " {act:?}:{answer:<4}");
            }
            table = table.trim_end().to_owned();
            table.push('\n');
        }
    }
    insta::assert_snapshot!(table);
}
