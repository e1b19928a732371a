//! `cargo xtask build`: the bundle, then the programs that carry or call it.

use std::path::PathBuf;

use anyhow::Result;

use crate::bundle;
use crate::workspace::{Workspace, step};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

pub struct Built {
    pub server: PathBuf,
    pub command_line: PathBuf,
}

pub fn build(workspace: &Workspace, profile: Profile) -> Result<Built> {
    let bundle = bundle::bundle(workspace)?;
    let folder = match profile {
        Profile::Dev => {
            // A development server reads the bundle from its folder, so that a change of the islands costs no
            // new server. Both programs come from one set of features: one build of every dependency.
            step("build the server and the command line", &mut workspace.cargo(&["build", "--bins"]))?;
            workspace.target.join("debug")
        }
        Profile::Release => {
            // The hash is compiled in: without it cargo would not see that what the server embeds has changed.
            let mut server = workspace.cargo(&["build", "--release", "--bin", "stillpointd"]);
            step("build the server", server.env("STILLPOINT_SITE_HASH", &bundle.hash))?;
            let alone = ["build", "--release", "--bin", "stillpoint", "--no-default-features", "--features", "cli"];
            step("build the command line", &mut workspace.cargo(&alone))?;
            workspace.target.join("release")
        }
    };
    let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Ok(Built { server: program("stillpointd"), command_line: program("stillpoint") })
}
