//! `cargo xtask …`: builds, runs, tests, checks and measures Stillpoint. Every command is safe to run again.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

mod bench;
mod build;
mod bundle;
mod check;
mod compress;
mod packages;
mod run;
mod style;
mod test;
mod workspace;

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs, tests and measures Stillpoint")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and start it with the demo project; state lives in `.stillpoint/`
    Run(run::Arguments),
    /// Run every test: Rust on SQLite and on PostgreSQL, then the console in Chromium
    Test(test::Arguments),
    /// Check format, lints for both targets, documentation, licences and advisories
    Check,
    /// Measure, side by side with the peer where there is one
    Bench(bench::Arguments),
    /// Build server, islands and command line into cargo's target directory
    Build(BuildArguments),
    /// Build only what the browser loads: `<target>/site`
    Bundle,
}

#[derive(Args)]
struct BuildArguments {
    /// Optimised: `stillpointd` as one self-contained file, and the small `stillpoint`
    #[arg(long)]
    release: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Run(arguments) => run::run(&workspace, &arguments),
        Command::Test(arguments) => test::test(&workspace, &arguments),
        Command::Check => check::check(&workspace),
        Command::Bench(arguments) => bench::bench(&workspace, &arguments),
        Command::Build(BuildArguments { release }) => {
            let profile = if release { build::Profile::Release } else { build::Profile::Dev };
            let built = build::build(&workspace, profile)?;
            println!("{}\n{}", built.server.display(), built.command_line.display());
            Ok(())
        }
        Command::Bundle => {
            let bundle = bundle::bundle(&workspace)?;
            println!("{}", bundle.folder.display());
            Ok(())
        }
    }
}
