//! The role × act table, printed so that a person can read it: a change of the rules shows in its diff (R1, R2, R3).

use std::fmt::Write as _;

use stillpoint::domain::environment::EnvironmentKind;
use stillpoint::domain::policy::acts::{Access, Act, Subject};
use stillpoint::domain::policy::{Grants, ProjectRole, Standing, TypeRole};
use stillpoint::domain::{EnvironmentId, ProjectId};

fn environment(digit: &str) -> EnvironmentId {
    EnvironmentId::parse(digit.repeat(20)).expect("a valid id")
}

/// Everybody there can be: roles, the installation's people, and tokens of an admin.
fn rows() -> Vec<(&'static str, Standing)> {
    let on = |role| Standing { types: [(EnvironmentKind::Production, role)].into(), ..Standing::default() };
    let role = |role| Standing { role: Some(role), ..Standing::default() };
    let token = |grants| Standing { grants: Some(grants), ..role(ProjectRole::Admin) };
    let (support, operator) =
        (Standing { support: true, ..Standing::default() }, Standing { operator: true, ..Standing::default() });
    let read_only = Grants { read_only: true, ..Grants::default() };
    vec![
        ("nobody", Standing::default()),
        ("project viewer, no type", role(ProjectRole::Viewer)),
        ("production:viewer", on(TypeRole::Viewer)),
        ("production:contributor", on(TypeRole::Contributor)),
        ("production:admin", on(TypeRole::Admin)),
        ("project admin", role(ProjectRole::Admin)),
        ("support", support.clone()),
        ("support, production:admin", Standing { support: true, ..on(TypeRole::Admin) }),
        ("operator", operator.clone()),
        ("operator, production:viewer", Standing { operator: true, ..on(TypeRole::Viewer) }),
        ("admin's token", token(Grants::default())),
        ("admin's token, read only", token(read_only.clone())),
        ("admin's token, production", token(Grants { types: vec![EnvironmentKind::Production], ..Grants::default() })),
        ("admin's token, another env.", token(Grants { environments: vec![environment("b")], ..Grants::default() })),
        ("admin's token, snapshots", token(Grants { acts: vec![Act::CreateSnapshot], ..Grants::default() })),
        ("admin's token, merges", token(Grants { acts: vec![Act::MergeEnvironment], ..Grants::default() })),
        ("support's token, read only", Standing { grants: Some(read_only.clone()), ..support }),
        ("operator's token, read only", Standing { grants: Some(read_only), ..operator }),
    ]
}

fn print(table: &mut String, acts: &[Act], subject: &Subject<'_>) {
    let heads: Vec<String> = acts.iter().map(|act| format!("{act:?}")).collect();
    let _ = writeln!(table, "  {:<29}{}", "", heads.join("  "));
    for (name, standing) in rows() {
        let _ = write!(table, "  {name:<29}");
        for (act, head) in acts.iter().zip(&heads) {
            let answer = match standing.decide(*act, subject) {
                Access::Granted => "yes",
                Access::Forbidden(_) => "no",
                Access::Invisible => "-",
            };
            let _ = write!(table, "{answer:<width$}", width = head.len() + 2);
        }
        *table = table.trim_end().to_owned();
        table.push('\n');
    }
}

#[test]
fn every_role_may_exactly_what_the_table_says() {
    let (project, environment) = (ProjectId::parse("shop").expect("a valid id"), environment("a"));
    let is_on_project = |act: &Act| act.is_on_project() || *act == Act::ViewProject;
    let (on_project, on_environment): (Vec<Act>, Vec<Act>) = Act::ALL.into_iter().partition(is_on_project);
    let mut table = "yes: may; no: sees it, and is refused with a reason; -: does not see it\n".to_owned();
    for kind in [EnvironmentKind::Production, EnvironmentKind::Development] {
        let _ = writeln!(table, "\non a {kind} environment");
        print(&mut table, &on_environment, &Subject { project: &project, environment: Some((&environment, kind)) });
    }
    let _ = writeln!(table, "\non the project");
    print(&mut table, &on_project, &Subject { project: &project, environment: None });
    insta::assert_snapshot!(table);
}
