//! What the documentation tells people to write into crontabs and CI is run as it stands, against a real server: a line
//! that stops working fails here, and so does one in a language that nobody runs (R31, R32).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::process::{Installation, Process, Site, said, until};

/// In every recipe: stands for the console.
const ADDRESS: &str = "https://stillpoint.example.org";
/// Stands for a token in a crontab.
const TOKEN: &str = "stp_…";

type Variables = BTreeMap<String, String>;

pub fn doc(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block, and the heading that it stands below.
#[derive(Debug, Clone)]
pub struct Block {
    pub heading: String,
    pub language: String,
    pub text: String,
}

pub fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut heading) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = text.join("\n") + "\n";
            found.push(Block { heading: heading.clone(), language: language.to_owned(), text });
        } else if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
    }
    found
}

fn below(page: &str, heading: &str) -> Block {
    let mut found: Vec<Block> = blocks(page).into_iter().filter(|block| block.heading == heading).collect();
    assert_eq!(found.len(), 1, "blocks below {heading}");
    found.remove(0)
}

/// What a block runs, one shell after the other, and the variables that it sets.
#[derive(Debug, Default, PartialEq)]
struct Steps {
    variables: Variables,
    scripts: Vec<String>,
}

impl Steps {
    fn of(block: &Block) -> Self {
        match block.language.as_str() {
            "sh" => Self { scripts: vec![block.text.clone()], ..Self::default() },
            "cron" => crontab(&block.text),
            "yaml" => yaml(&block.text),
            "groovy" => jenkinsfile(&block.text),
            other => panic!("nobody runs what is written in {other:?}, below {}", block.heading),
        }
    }
}

fn crontab(text: &str) -> Steps {
    let mut steps = Steps::default();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let first = line.split_whitespace().next().expect("it is not empty");
        match first.split_once('=') {
            Some(_) => steps.variables.extend(line.split_once('=').map(|(name, it)| (name.to_owned(), it.to_owned()))),
            None => {
                let (mut rest, mut fields) = (line, Vec::new());
                for _ in 0..5 {
                    let (field, more) = rest.split_once(' ').expect("five fields and a command");
                    (rest, fields) = (more, [fields, vec![field]].concat());
                }
                is_time(&fields.join(" "));
                steps.scripts.push(rest.trim().to_owned());
            }
        }
    }
    steps
}

/// As our own schedules read it.
fn is_time(spec: &str) {
    stillpoint::domain::policy::Rhythm::parse(spec, "UTC").unwrap_or_else(|error| panic!("{spec}: {error}"));
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(text).to_owned()
}

/// Of YAML what recipes are made of: mappings, lists, plain and quoted values, literal blocks.
fn yaml(text: &str) -> Steps {
    assert!(!text.contains('\t'), "no tabs in YAML");
    let mut steps = Steps::default();
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let depth = indent(line);
        at += 1;
        let entry = line.trim().trim_start_matches("- ");
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let (key, value) = entry.split_once(':').unwrap_or_else(|| panic!("neither key nor value: {line:?}"));
        assert!(value.is_empty() || value.starts_with(' '), "a space follows a colon: {line:?}");
        let value = unquoted(value);
        let mut taken = Vec::new();
        if ["run", "script", "before_script", "cmd"].contains(&key) && (value.is_empty() || value == "|") {
            while let Some(more) = lines.get(at).filter(|more| more.trim().is_empty() || indent(more) > depth) {
                taken.push(if value == "|" {
                    (*more).to_owned()
                } else {
                    unquoted(more.trim().trim_start_matches("- "))
                });
                at += 1;
            }
            assert!(!taken.is_empty(), "{key} runs nothing");
            steps.scripts.push(taken.join("\n"));
        } else if ["run", "script", "cmd"].contains(&key) {
            assert!(!value.contains(": "), "a value with a colon needs quotes: {line:?}");
            steps.scripts.push(value);
        } else if key == "spec" {
            is_time(&value);
        } else if key.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            steps.variables.insert(key.to_owned(), value);
        }
    }
    steps
}

/// The steps `sh '…'` and the entries of `environment`.
fn jenkinsfile(text: &str) -> Steps {
    assert_eq!(text.matches('{').count(), text.matches('}').count(), "braces");
    let mut steps = Steps::default();
    for line in text.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("sh '") {
            let (script, _) = rest.rsplit_once('\'').expect("a quote ends it");
            assert!(!script.contains('\''), "quotes within quotes: {script}");
            steps.scripts.push(script.to_owned());
        } else if let Some((name, value)) = line.split_once(" = ") {
            steps.variables.insert(name.to_owned(), unquoted(value));
        }
    }
    steps
}

/// A host with the programs on its path, beside a server that runs.
struct Host {
    at: Installation,
    server: Process,
    programs: PathBuf,
    work: PathBuf,
    tokens: BTreeMap<String, String>,
}

pub fn program(name: &str) -> PathBuf {
    let fixed = if name == "stillpoint" { env!("CARGO_BIN_EXE_stillpoint") } else { env!("CARGO_BIN_EXE_stillpointd") };
    std::env::var_os(format!("CARGO_BIN_EXE_{name}")).map_or_else(|| fixed.into(), Into::into)
}

impl Host {
    /// The project `shop` with `main` and its child `staging`, the project `legacy` with `master`, and the tokens that the page tells one to make.
    fn new() -> Self {
        let at = Installation::new();
        at.add_member("ci@example.org");
        let home = |name: &str| at.directory().join(name);
        let environment = |name: &str, kind: &str, site: &Site, more: &str| {
            let (database, uploads) = (site.database(), site.uploads());
            format!(
                "\n[[project.environment]]\nname = {name:?}\ntype = {kind:?}\n{more}\n\n\
                 [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {database:?}\n\n\
                 [[project.environment.mount]]\nname = \"uploads\"\npath = {uploads:?}\n"
            )
        };
        let member = |email: &str| format!("\n[[project.member]]\nemail = {email:?}\nrole = \"admin\"\n");
        let staging = environment("staging", "staging", &Site::new(&home("staging")), "parent = \"main\"");
        let master = environment("master", "production", &Site::new(&home("master")), "live = true");
        let both = member(crate::process::OPERATOR) + &member("ci@example.org");
        let all = format!("{staging}{both}\n[[project]]\nid = \"legacy\"\n{both}{master}");
        let (applied, told) = at.apply(&at.site.declaration(&all));
        assert!(applied, "{told}");

        let (programs, work) = (home("programs"), home("work"));
        for directory in [&programs, &work] {
            fs::create_dir(directory).expect("a fresh directory");
        }
        for (name, target) in [("stillpoint", "stillpoint"), ("platform", "stillpoint"), ("stillpointd", "stillpointd")]
        {
            std::os::unix::fs::symlink(program(target), programs.join(name)).expect("a link");
        }
        let deploy = work.join("deploy");
        let script = "#!/bin/sh\necho deployed >> deployments\nif [ -e broken ]; then echo 'no deployment today' >&2; exit 1; fi\n";
        fs::write(&deploy, script).expect("a script");
        fs::set_permissions(&deploy, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let server = at.start();
        let mut host = Self { at, server, programs, work, tokens: BTreeMap::new() };
        host.make_tokens();
        host
    }

    fn make_tokens(&mut self) {
        let block = below(&doc("automation.md"), "Tokens for one purpose");
        for line in block.text.lines() {
            let output = self.shell(line, &Variables::new());
            assert!(output.status.success(), "{line}: {}", said(&output));
            let name = line.split_once("--name ").and_then(|(_, rest)| rest.split(' ').next()).expect("a name");
            self.tokens.insert(name.to_owned(), String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
    }

    /// As CI runs a step: it ends with the first command that fails.
    fn shell(&self, script: &str, variables: &Variables) -> Output {
        let mut command = Command::new("bash");
        command.args(["-eo", "pipefail", "-c", script]).current_dir(&self.work).env_clear();
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.programs.display()));
        command.env("HOME", &self.work).env("STILLPOINT_DATA", &self.at.data).envs(variables);
        command.stdin(Stdio::null()).output().expect("bash is installed")
    }

    /// Runs all steps of a block with this token; what they printed.
    #[track_caller]
    fn run(&self, block: &Block, token: &str) -> String {
        let steps = Steps::of(block);
        assert!(!steps.scripts.is_empty(), "nothing is run below {}", block.heading);
        let variables = self.variables(steps.variables, token);
        let mut printed = String::new();
        for script in steps.scripts {
            let output = self.shell(&script, &variables);
            assert!(output.status.success(), "below {}: {script}\n{}", block.heading, said(&output));
            printed += &String::from_utf8_lossy(&output.stdout);
        }
        printed
    }

    /// What the surroundings give, and what the block itself sets, filled in.
    fn variables(&self, set: Variables, token: &str) -> Variables {
        let token = self.tokens.get(token).map_or(token, String::as_str);
        let mut variables: Variables = ["CI_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHORT_SHA", "BUILD_TAG"]
            .map(|name| (name.to_owned(), format!("of {name}")))
            .into();
        variables.insert("STILLPOINT_URL".to_owned(), ADDRESS.to_owned());
        variables.insert("STILLPOINT_TOKEN".to_owned(), TOKEN.to_owned());
        variables.extend(set);
        for value in variables.values_mut() {
            *value = match value.as_str() {
                ADDRESS => self.at.console(),
                TOKEN | "${{ secrets.STILLPOINT_TOKEN }}" | "credentials('stillpoint')" => token.to_owned(),
                other => other.to_owned(),
            };
        }
        variables
    }

    /// Of one environment, newest first; without what no person asked for, as a schedule's snapshots.
    fn activities(&self, project: &str, environment: &str) -> Vec<Value> {
        let path = format!("/projects/{project}/environments/{environment}/activities?count=100");
        let (status, body) = self.at.ask("GET", &path, None).expect("the server answers");
        assert_eq!(status, 200, "{body}");
        let all = body.as_array().expect("a list").iter();
        all.filter(|activity| activity["payload"]["user"]["id"].is_string()).cloned().collect()
    }

    /// How many of a type there are that succeeded.
    fn succeeded(&self, kind: &str, environment: &str) -> usize {
        let all = self.activities("shop", environment);
        all.iter().filter(|activity| activity["type"] == kind && activity["result"] == "success").count()
    }

    fn deployments(&self) -> usize {
        fs::read_to_string(self.work.join("deployments")).unwrap_or_default().lines().count()
    }
}

#[test]
fn every_recipe_of_the_page_is_run_and_does_what_it_says() {
    let page = doc("automation.md");
    let host = Host::new();
    // By heading: the token, and what there is one more of then: an activity of this type, there, and a deployment.
    let told: &[(&str, &str, &str, &str, usize)] = &[
        ("Before a deployment", "deploy", "environment.backup", "main", 1),
        ("GitHub Actions", "snapshots", "environment.backup", "main", 1),
        ("GitLab CI", "snapshots", "environment.backup", "main", 1),
        ("Jenkins", "snapshots", "environment.backup", "main", 1),
        ("Before a merge", "merge", "environment.merge", "main", 1),
        ("Staging from production, every night", "deploy", "environment.restore", "staging", 0),
        ("A drill, and an alarm", "drill", "environment.drill", "main", 0),
    ];
    let elsewhere = ["Tokens for one purpose", "Lines that you have"];
    let all = blocks(&page);
    for block in &all {
        let is_known = told.iter().any(|(heading, ..)| *heading == block.heading);
        assert!(is_known || elsewhere.contains(&block.heading.as_str()), "nobody runs what is below {}", block.heading);
    }
    for (heading, token, kind, environment, deployments) in told {
        let (activities, deployed) = (host.succeeded(kind, environment), host.deployments());
        let mut mine = all.iter().filter(|block| block.heading == *heading);
        host.run(mine.next().expect("the page has it"), token);
        assert_eq!(host.succeeded(kind, environment), activities + 1, "{kind} below {heading}");
        assert_eq!(host.deployments(), deployed + deployments, "deployments below {heading}");
        for block in mine {
            let printed = host.run(block, "look");
            let newest = host.at.backups()[0]["id"].as_str().expect("a name").to_owned();
            let mut lines = printed.lines();
            let first = lines.next().expect("a line");
            assert!(first.contains(&newest) && first.ends_with(",100"), "{first}");
            let listed: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).expect("JSON");
            assert_eq!(listed[0]["state"], "complete", "{listed}");
        }
    }
    // The merge took its snapshot first, and said before what.
    let notes: Vec<String> = host.at.backups().iter().map(|it| it["attributes"]["note"].to_string()).collect();
    assert!(notes.iter().any(|note| note.contains("before staging is merged into it")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("before of BUILD_TAG")), "{notes:?}");
    // What a token was not made for, it does not do.
    let restore = "stillpoint snapshot:restore --yes --wait -p shop -e main";
    let refused = host.shell(restore, &host.variables(Variables::new(), "snapshots"));
    assert_eq!(refused.status.code(), Some(6), "{}", said(&refused));
    host.server.terminate();
}

#[test]
fn a_deployment_that_fails_is_put_back_and_one_without_its_snapshot_never_begins() {
    let host = Host::new();
    let block = below(&doc("automation.md"), "Before a deployment");
    let script = |more: &str| format!("{more}\n{}", Steps::of(&block).scripts[0]);
    let variables = host.variables(Variables::new(), "deploy");
    // The deployment breaks what is there.
    fs::write(host.work.join("broken"), "").expect("a file");
    let uploads = host.at.site.uploads();
    let spoil = format!("#!/bin/sh\necho deployed >> deployments\nrm {:?}\nexit 1\n", uploads.join("only-1.txt"));
    fs::write(host.work.join("deploy"), spoil).expect("a script");
    let output = host.shell(&script(""), &variables);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!((host.deployments(), host.at.site.version()), (1, 1));
    assert!(uploads.join("only-1.txt").exists(), "it is put back");
    assert_eq!(host.succeeded("environment.restore", "main"), 1);
    // No snapshot, no deployment: in the shell's block, and in each CI's.
    fs::rename(&uploads, uploads.with_file_name("away")).expect("it is ours");
    let output = host.shell(&script(""), &variables);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("uploads"), "it says why: {}", said(&output));
    let page = doc("automation.md");
    for heading in ["GitHub Actions", "GitLab CI", "Jenkins"] {
        let steps = Steps::of(&below(&page, heading));
        let output = host.shell(&steps.scripts[0], &host.variables(steps.variables, "snapshots"));
        assert_eq!(output.status.code(), Some(1), "{heading}: {}", said(&output));
    }
    assert_eq!(host.deployments(), 1);
    host.server.terminate();
}

#[test]
fn the_cron_lines_that_people_have_work_as_they_stand() {
    let host = Host::new();
    let blocks = [below(&doc("automation.md"), "Lines that you have"), {
        let cli = doc("cli.md");
        let mut all = blocks(&cli).into_iter().filter(|block| block.heading == "Cron" && block.language == "yaml");
        all.next().expect("the command line's page has them too")
    }];
    for (taken, block) in blocks.iter().enumerate() {
        let steps = Steps::of(block);
        assert_eq!(steps.scripts.len(), 1);
        // The words of the source, in the order in which they stand there.
        assert!(steps.scripts[0].contains("platform snapshot:create --yes --no-wait"), "{steps:?}");
        assert!(steps.scripts[0].contains("if [ \"$PLATFORM_BRANCH\" = master ]; then"), "{steps:?}");
        let on = |branch: &str| {
            let variables = [
                ("STILLPOINT_URL", host.at.console()),
                ("PLATFORM_PROJECT", "legacy".to_owned()),
                ("PLATFORM_BRANCH", branch.to_owned()),
                ("PLATFORMSH_CLI_TOKEN", host.at.token.clone()),
            ];
            let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
            host.shell(&steps.scripts[0], &variables)
        };
        let elsewhere = on("develop");
        assert!(elsewhere.status.success() && said(&elsewhere).is_empty(), "{}", said(&elsewhere));
        assert_eq!(host.activities("legacy", "master").len(), taken, "on another branch nothing is taken");
        let output = on("master");
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("It goes on; see it with: platform activity:log"), "{}", said(&output));
        let taken = taken + 1;
        until("the snapshot is complete", || {
            let all = host.activities("legacy", "master");
            let done = all.iter().filter(|it| it["type"] == "environment.backup" && it["result"] == "success").count();
            (all.len() == taken && done == taken).then_some(())
        });
    }
    host.server.terminate();
}

#[test]
fn what_the_command_lines_own_page_says_of_cron_and_ci_is_run_too() {
    let host = Host::new();
    let page = doc("cli.md");
    let mine = |heading: &str, language: &str| {
        let all = blocks(&page);
        let mut found = all.into_iter().filter(|block| block.heading == heading && block.language == language);
        found.next().unwrap_or_else(|| panic!("{language} below {heading}"))
    };
    // Written for a crontab: its variables stand before the command.
    let cron = mine("Cron", "cron");
    let text = cron.text.replace(ADDRESS, &host.at.console()).replace(TOKEN, &host.tokens["snapshots"]);
    host.run(&Block { text, ..cron }, "look");
    assert_eq!(host.succeeded("environment.backup", "main"), 1);
    host.run(&mine("CI", "sh"), "deploy");
    assert_eq!((host.succeeded("environment.backup", "main"), host.deployments()), (2, 1));
    host.server.terminate();
}

#[test]
fn what_is_no_recipe_is_not_taken_for_one() {
    let steps = yaml(
        "env:\n  A_B: x\njobs:\n  one:\n    steps:\n      - run: |\n          first\n          second\n      - run: third\n",
    );
    assert_eq!(steps.scripts, ["          first\n          second", "third"]);
    assert_eq!(steps.variables, [("A_B".to_owned(), "x".to_owned())].into());
    assert_eq!(yaml("job:\n  script:\n    - one\n    - 'two'\n").scripts, ["one\ntwo"]);
    assert_eq!(crontab("# told\nA=b c\n0 5 * * 1  run it\n").scripts, ["run it"]);
    assert!(std::panic::catch_unwind(|| yaml("run\n")).is_err());
    assert!(std::panic::catch_unwind(|| crontab("0 5 * * never run it\n")).is_err());
}
