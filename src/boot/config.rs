//! The command line of `stillpointd`, and where everything lies.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::{AccountChange, Act};
use crate::domain::proxies::Proxy;
use crate::domain::{ProjectId, Proxies};

/// The Stillpoint server.
#[derive(Debug, Parser)]
#[command(name = "stillpointd", version, about, max_term_width = 100)]
pub struct Command {
    #[command(subcommand)]
    pub role: Option<Role>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Directory where everything of Stillpoint's own lies
    #[arg(long, global = true, env = "STILLPOINT_DATA", default_value = ".stillpoint", value_name = "DIR")]
    pub data: PathBuf,
    /// The database: sqlite:PATH or postgres://…; a SQLite file in the data directory if not given
    #[arg(long, global = true, env = "STILLPOINT_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// Where the console and the API listen
    #[arg(long, global = true, env = "STILLPOINT_LISTEN", default_value = "127.0.0.1:4180", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Where the gateway listens for the sites' visitors
    #[arg(long, global = true, env = "STILLPOINT_GATEWAY", default_value = "127.0.0.1:4181", value_name = "ADDR")]
    pub gateway: SocketAddr,
    /// Where a gateway of its own process takes orders; keep it inside a private network
    #[arg(long, global = true, env = "STILLPOINT_CONTROL", default_value = "127.0.0.1:4182", value_name = "ADDR")]
    pub control: SocketAddr,
    /// Address under which people reach the console, when something stands in front of it
    #[arg(long, global = true, env = "STILLPOINT_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Directories in which mounts and database files may lie; anywhere if not given
    #[arg(long, global = true, env = "STILLPOINT_ROOTS", value_delimiter = ':', value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Proxies in front, whose word about where a request comes from counts (X-Forwarded-For, -Proto); repeatable
    #[arg(
        long = "trusted-proxy",
        alias = "trusted-proxies",
        global = true,
        env = "STILLPOINT_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub trusted_proxies: Vec<Proxy>,
    /// Region whose environments this process works for
    #[arg(long, global = true, env = "STILLPOINT_REGION", default_value = "local", value_name = "NAME")]
    pub region: String,
    /// Mail server for notices: smtp://HOST:PORT, smtps://USER:PASSWORD@HOST, smtp://…?tls=required
    #[arg(long, global = true, env = "STILLPOINT_SMTP", value_name = "URL", hide_env_values = true)]
    pub smtp: Option<String>,
    /// Whom mail is from, e.g. `Stillpoint <backup@example.org>`
    #[arg(long, global = true, env = "STILLPOINT_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<String>,
    /// Inner networks that webhooks may reach, e.g. 10.1.0.0/16; none if not given; repeatable
    #[arg(long, global = true, env = "STILLPOINT_WEBHOOK_NETWORKS", value_delimiter = ',', value_name = "CIDR")]
    pub webhook_network: Vec<IpNet>,
    /// Add a demo project with three small shops, an admin and a viewer
    #[arg(long, global = true)]
    pub demo: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// Everything in one process (the default)
    All,
    /// The console and the API
    Serve,
    /// Takes jobs
    Work,
    /// The gateway in front of the sites
    Gate,
    /// Brings the database up to date and ends
    Migrate,
    /// Declares projects and environments from a file, after trying every connection and path in it
    Apply {
        /// TOML; see docs/declaration.md
        file: PathBuf,
        /// Only checks the file, and says which snapshots would go by it
        #[arg(long, short = 'n', conflicts_with = "yes")]
        dry_run: bool,
        /// Also where snapshots go by it that are kept now
        #[arg(long, short = 'y')]
        yes: bool,
        /// What was removed in the console and is to be there again: `shop`, `shop/staging`; repeatable
        #[arg(long, value_name = "PROJECT[/ENVIRONMENT]")]
        reinstate: Vec<String>,
    },
    /// What the operator does on this machine
    #[command(subcommand)]
    Admin(Admin),
}

fn act(text: &str) -> Result<Act, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        let known: Vec<String> =
            Act::ALL.iter().filter_map(|act| Some(serde_json::to_value(act).ok()?.as_str()?.to_owned())).collect();
        format!("known are {}", known.join(", "))
    })
}

#[derive(Debug, Clone, Subcommand)]
pub enum Admin {
    /// Accounts
    #[command(subcommand)]
    User(User),
    /// Makes an API token for an account and prints it, alone
    Token {
        /// The account's e-mail address
        #[arg(long)]
        user: String,
        /// What the token is for
        #[arg(long)]
        name: String,
        /// Days after which it ends; never if not given
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
        /// It may only read
        #[arg(long)]
        read_only: bool,
        /// Only for this project; repeatable
        #[arg(long, value_name = "ID")]
        project: Vec<ProjectId>,
        /// Only for this type of environment: production, staging or development; repeatable
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<EnvironmentKind>,
        /// Beside reading only this, e.g. create_snapshot, restore_snapshot, run_drill, merge_environment; repeatable
        #[arg(long = "act", value_name = "ACT", conflicts_with = "read_only", value_parser = act)]
        acts: Vec<Act>,
    },
    /// The installation's key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Prints the key that opens every repository without this installation; keep it elsewhere
    RecoveryKey,
    /// Takes over the snapshots of a repository, when the database was lost
    Adopt {
        /// The repository's directory
        repository: PathBuf,
        /// Reads the repository's recovery key from standard input
        #[arg(long)]
        key_stdin: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum KeyCommand {
    /// Makes a new key and seals everything in the database with it; the server must be stopped
    Rotate,
}

#[derive(Debug, Clone, Subcommand)]
pub enum User {
    /// Adds an account
    Add {
        email: String,
        /// Reads the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// The account runs the installation
        #[arg(long)]
        operator: bool,
        /// The account works restore tickets
        #[arg(long, conflicts_with = "operator")]
        support: bool,
    },
    /// Makes a link that sets an account's password once, within a day, and prints it, alone
    ResetLink { email: String },
    /// Lists all accounts
    List,
    /// Closes an account: its sessions end, its tokens are revoked, nobody logs in by it; its name stays in the history
    Close { email: String },
    /// Opens a closed account again; its tokens stay revoked
    Open { email: String },
    /// Has an account run the installation, or work restore tickets
    Grant { email: String, duty: Duty },
    /// Takes that away again
    Withdraw { email: String, duty: Duty },
}

/// What an account may beside its roles in projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Duty {
    /// Runs the installation
    Operator,
    /// Works restore tickets
    Support,
}

impl User {
    /// What it does to an existing account.
    pub fn change(&self) -> Option<(&str, AccountChange)> {
        match self {
            Self::Add { .. } | Self::ResetLink { .. } | Self::List => None,
            Self::Close { email } => Some((email, AccountChange::Close)),
            Self::Open { email } => Some((email, AccountChange::Open)),
            Self::Grant { email, duty: Duty::Operator } => Some((email, AccountChange::GrantOperator)),
            Self::Grant { email, duty: Duty::Support } => Some((email, AccountChange::GrantSupport)),
            Self::Withdraw { email, duty: Duty::Operator } => Some((email, AccountChange::WithdrawOperator)),
            Self::Withdraw { email, duty: Duty::Support } => Some((email, AccountChange::WithdrawSupport)),
        }
    }
}

impl Options {
    /// What no site may touch: database, keys, repositories, intermediate files.
    pub fn state(&self) -> PathBuf {
        self.data.join("state")
    }

    pub fn proxies(&self) -> Proxies {
        self.trusted_proxies.iter().copied().collect()
    }

    pub fn database_url(&self) -> String {
        self.database.clone().unwrap_or_else(|| format!("sqlite:{}", self.state().join("stillpoint.db").display()))
    }
}
