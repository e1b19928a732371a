//! The demo project around the demo shop: accounts, a token, and a declaration that is applied like any other.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::demo::{self, Demo};
use crate::domain::Secret;
use crate::domain::policy::Grants;
use crate::ops::accounts::Kind;
use crate::ops::installation::{self, Applied, Consent};
use crate::ops::tokens::TokenRequest;
use crate::ops::{App, Error, accounts, tokens};

/// The running demo and how to log in to it.
#[derive(Debug)]
pub struct Sample {
    demo: Demo,
    pub login: Login,
}

/// Made at the first start; kept beside the demo's data, readable by its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub admin: String,
    pub viewer: String,
    /// Works restore tickets, once the region asks for them.
    #[serde(default = "support")]
    pub support: String,
    pub password: Secret,
    pub token: Secret,
}

impl Sample {
    pub async fn stop(self) {
        self.demo.stop().await;
    }
}

/// # Errors
/// What keeps the demo from starting.
pub async fn start(app: &App, data: &Path) -> Result<Sample> {
    let data = std::path::absolute(data)?;
    let demo = demo::start(&data).await?;
    let login = login(app, &data.join("demo/login.json")).await?;
    let declaration = declaration(&demo, &login);
    let file: PathBuf = data.join("demo/declaration.toml");
    fs::write(&file, declaration).with_context(|| format!("{} can't be written", file.display()))?;
    match installation::apply(app, &file, Consent::Yes).await? {
        Applied::Done { .. } | Applied::Looked(_) => Ok(Sample { demo, login }),
        Applied::Refused(troubles) => {
            let lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            bail!("the demo project can't be declared:\n{}", lines.join("\n"))
        }
    }
}

async fn login(app: &App, file: &Path) -> Result<Login> {
    if let Ok(text) = fs::read_to_string(file) {
        let login: Login = serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        if accounts::unchecked_actor(app, &login.admin).await.is_ok() {
            if accounts::unchecked_actor(app, &login.support).await.is_err() {
                accounts::unchecked_add(app, &login.support, &login.password, Kind::Support).await?;
            }
            return Ok(login);
        }
        fs::remove_file(file)?;
    }
    let password = Secret::new(words());
    let login = Login {
        admin: "admin@demo.localhost".to_owned(),
        viewer: "viewer@demo.localhost".to_owned(),
        support: support(),
        token: Secret::new(""),
        password,
    };
    for (email, kind) in
        [(&login.admin, Kind::Operator), (&login.viewer, Kind::Member), (&login.support, Kind::Support)]
    {
        match accounts::unchecked_add(app, email, &login.password, kind).await {
            Ok(_) => {}
            Err(Error::Conflict(_)) => bail!(
                "the account {email} exists and {} does not say its password: choose another data directory",
                file.display()
            ),
            Err(error) => return Err(error.into()),
        }
    }
    let admin = accounts::unchecked_actor(app, &login.admin).await?;
    let request =
        TokenRequest { name: "demo command line".to_owned(), grants: Grants::default(), expires_in_days: None };
    let login = Login { token: tokens::create(app, &admin, request).await?.text, ..login };
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    open.write_all(serde_json::to_string_pretty(&login)?.as_bytes())?;
    Ok(login)
}

fn support() -> String {
    "support@demo.localhost".to_owned()
}

/// A password that can be typed: 64 random bits in four groups.
fn words() -> String {
    let hex = hex::encode(rand::random::<[u8; 8]>());
    [&hex[0..4], &hex[4..8], &hex[8..12], &hex[12..16]].join("-")
}

fn declaration(demo: &Demo, login: &Login) -> String {
    let (folder, address) = &demo.made;
    // Their shops run already: each is found by its host name.
    let answer = format!("echo '{{\"upstream\": \"http://{address}\", \"health\": \"/healthz\"}}'");
    let mut text = format!(
        "# Written anew at every start with --demo.\n[[project]]\nid = \"demo\"\ntitle = \"Demo shop\"\n\
         plan = \"self-hosted\"\n\n[project.provision]\ndirectory = {folder:?}\nhost = \"{{name}}.demo.localhost\"\n\
         program = [\"/bin/sh\", \"-c\", {answer:?}]\n\n[[project.member]]\nemail = {:?}\nrole = \"admin\"\n\n[[project.member]]\n\
         email = {:?}\nrole = \"viewer\"\n\
         types = {{ production = \"viewer\", staging = \"viewer\", development = \"viewer\" }}\n",
        login.admin, login.viewer
    );
    for site in &demo.sites {
        let (title, kind, parent, live) = match site.name {
            "main" => ("Main", "production", "", "live = true\n"),
            "staging" => ("Staging", "staging", "parent = \"main\"\n", ""),
            _ => ("Develop", "development", "parent = \"staging\"\n", ""),
        };
        let name = site.name;
        let (database, uploads, address) = (&site.database, &site.uploads, site.address);
        // Writing to a String never fails.
        let _ = write!(
            text,
            "\n[[project.environment]]\nname = \"{name}\"\ntitle = \"{title}\"\ntype = \"{kind}\"\n{parent}{live}\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {database:?}\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {uploads:?}\n\n\
             [[project.environment.route]]\nhost = \"{name}.demo.localhost\"\nupstream = \"http://{address}\"\n"
        );
    }
    text
}
