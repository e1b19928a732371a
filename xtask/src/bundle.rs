//! `<target>/site`: everything that a browser loads beside the pages, named by content and precompressed.
//!
//! What leptos 0.8.23 asks for (`HydrationScripts` in its `hydration/mod.rs`): with `hash_files`, it reads `hash.txt`
//! beside the running program at each render, and panics where there is none, which a self-contained file can't
//! promise. Without, it asks for `/{site_pkg_dir}/{output_name}.js` and `/{site_pkg_dir}/{output_name}_bg.wasm` (the
//! `_bg` only if leptos itself was compiled without `LEPTOS_OUTPUT_NAME`, which `Workspace::cargo` sees to). So one hash
//! over script, module and snippets becomes part of the *output name*: `stillpoint.<hash>`. The server reads that name
//! from the embedded `site.json`, sets `hash_files(false)`, and needs no file beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256, Sha384};
use wasm_bindgen_cli_support::Bindgen;

use crate::workspace::{Workspace, on_path, step};
use crate::{compress, style};

const TARGET: &str = "wasm32-unknown-unknown";
const NAME: &str = "stillpoint";
/// Raised when this file would make something else of the same input; part of every name, as browsers keep them.
const FORMAT: u32 = 1;

pub struct Bundle {
    pub folder: PathBuf,
    /// Over every file of the bundle.
    pub hash: String,
    /// Script, module, snippets and style sheet, each in its smallest variant (brotli).
    pub first_load_bytes: usize,
}

pub fn bundle(workspace: &Workspace) -> Result<Bundle> {
    let module = build_islands(workspace)?;
    let module = fs::read(&module).with_context(|| format!("could not read {}", module.display()))?;
    let sheet = workspace.root.join("style/main.css");
    let sheet = if sheet.exists() { Some(style::load(&sheet)?) } else { None };
    let public = read_folder(&workspace.root.join("public"))?;

    let mut input = Sha256::new();
    input.update(FORMAT.to_le_bytes());
    let style_input = sheet.as_deref().unwrap_or_default().as_bytes();
    for (name, data) in [("", &module[..]), ("", style_input)].into_iter().chain(entries(&public)) {
        input.update((name.len() as u64).to_le_bytes());
        input.update(name);
        input.update((data.len() as u64).to_le_bytes());
        input.update(data);
    }
    let input = hex::encode(input.finalize());
    if let Some(bundle) = up_to_date(&workspace.site(), &input) {
        return Ok(bundle);
    }

    let mut site = Site::create(workspace)?;
    add_islands(&mut site, module)?;
    if let Some(sheet) = sheet {
        let name = format!("pkg/{NAME}.{}.css", short_hash([sheet.as_bytes()]));
        site.add("stillpoint.css", &name, sheet.as_bytes())?;
    }
    for (name, data) in entries(&public) {
        if name.starts_with("pkg/") || name == "site.json" {
            bail!("public/{name} would hide a file of the bundle; give it another name");
        }
        site.add(name, name, data)?;
    }
    site.finish(&input)
}

pub fn ensure_target(workspace: &Workspace) -> Result<()> {
    let sysroot = std::process::Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(&workspace.root)
        .output()
        .context("could not start rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).exists() {
        return Ok(());
    }
    let Some(rustup) = on_path("rustup") else {
        bail!("Rust's target {TARGET} is missing, and so is rustup, which adds it: see https://rustup.rs");
    };
    let mut add = std::process::Command::new(rustup);
    step(&format!("add the target {TARGET}"), add.args(["target", "add", TARGET]).current_dir(&workspace.root))
}

fn build_islands(workspace: &Workspace) -> Result<PathBuf> {
    ensure_target(workspace)?;
    // One profile for every use: it is what people load, and it is built once.
    let arguments = ["rustc", "--package", NAME, "--lib", "--profile", "wasm-release", "--target", TARGET];
    let mut cargo = workspace.cargo(&arguments);
    // A module is wanted here only; elsewhere it would be linked at every build for nobody.
    cargo.args(["--no-default-features", "--features", "hydrate", "--crate-type", "cdylib"]);
    step("build the islands", &mut cargo)?;
    Ok(workspace.target.join(TARGET).join("wasm-release").join(format!("{NAME}.wasm")))
}

/// The bundle that stands there already, if it was made of the same input.
fn up_to_date(folder: &Path, input: &str) -> Option<Bundle> {
    let manifest = fs::read(folder.join("site.json")).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).ok()?;
    (manifest["input"] == input).then_some(())?;
    let first_load = usize::try_from(manifest["first_load_bytes"].as_u64()?).ok()?;
    Some(Bundle { folder: folder.into(), hash: manifest["hash"].as_str()?.into(), first_load_bytes: first_load })
}

fn add_islands(site: &mut Site, module: Vec<u8>) -> Result<()> {
    let mut output = Bindgen::new()
        .input_bytes(NAME, module)
        .web(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        // Leptos says where the module lies; the default would be its name without the hash.
        .omit_default_module_path(true)
        .generate_output()?;

    let mut snippets = BTreeMap::new();
    for (owner, list) in output.snippets() {
        for (index, text) in list.iter().enumerate() {
            snippets.insert(format!("{owner}/inline{index}.js"), text.clone());
        }
    }
    snippets.extend(output.local_modules().iter().map(|(path, text)| (path.clone(), text.clone())));

    let script = output.js().to_owned();
    let module = output.wasm_mut().emit_wasm();
    let texts = snippets.iter().flat_map(|(path, text)| [path.as_bytes(), text.as_bytes()]);
    let format = FORMAT.to_le_bytes();
    let hash = short_hash([&format[..], script.as_bytes(), &module].into_iter().chain(texts));

    let script = rename_snippets(&script, &format!("snippets.{hash}"));
    site.output_name = format!("{NAME}.{hash}");
    site.add("stillpoint.js", &format!("pkg/{NAME}.{hash}.js"), script.as_bytes())?;
    site.add("stillpoint.wasm", &format!("pkg/{NAME}.{hash}_bg.wasm"), &module)?;
    for (path, text) in &snippets {
        site.add(&format!("snippets/{path}"), &format!("pkg/snippets.{hash}/{path}"), text.as_bytes())?;
    }
    Ok(())
}

/// Snippets are imported by relative path, so their folder carries the hash too.
///
/// Only the script's own imports change: the same path is also the name by which the module asks for them.
fn rename_snippets(script: &str, folder: &str) -> String {
    let rename = |line: &str| match line.split_once("/snippets/") {
        Some((before, after)) if line.starts_with("import ") => format!("{before}/{folder}/{after}"),
        _ => line.to_owned(),
    };
    script.split_inclusive('\n').map(rename).collect()
}

/// A bundle in the making, beside the one that may be in use.
struct Site {
    folder: PathBuf,
    place: PathBuf,
    output_name: String,
    files: BTreeMap<String, serde_json::Value>,
    hash: Sha256,
    first_load_bytes: usize,
}

impl Site {
    fn create(workspace: &Workspace) -> Result<Self> {
        let place = workspace.site();
        let folder = workspace.target.join("site.new");
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            place,
            output_name: NAME.into(),
            files: BTreeMap::new(),
            hash: Sha256::new(),
            first_load_bytes: 0,
        })
    }

    /// Writes `data` to `path` (below the folder, with `/`), its variants beside it, and enters it under `name`.
    fn add(&mut self, name: &str, path: &str, data: &[u8]) -> Result<()> {
        let write = |path: &str, data: &[u8]| -> Result<()> {
            let file = self.folder.join(path);
            fs::create_dir_all(file.parent().context("lies in the site's folder")?)?;
            fs::write(&file, data).with_context(|| format!("could not write {}", file.display()))
        };
        write(path, data)?;
        let mut encodings = Vec::new();
        let mut smallest = data.len();
        if compress::is_worthwhile(path) {
            let variants = [("br", "br", compress::brotli(data)?), ("gzip", "gz", compress::gzip(data)?)];
            for (encoding, extension, packed) in variants {
                if packed.len() < data.len() {
                    write(&format!("{path}.{extension}"), &packed)?;
                    encodings.push(encoding);
                    smallest = smallest.min(packed.len());
                }
            }
        }
        if path.starts_with("pkg/") {
            self.first_load_bytes += smallest;
        }
        self.hash.update(path);
        self.hash.update(Sha256::digest(data));
        let entry = json!({
            "path": path,
            "bytes": data.len(),
            "hash": short_hash([data]),
            "integrity": format!("sha384-{}", BASE64_STANDARD.encode(Sha384::digest(data))),
            "encodings": encodings,
        });
        self.files.insert(name.into(), entry);
        Ok(())
    }

    fn finish(self, input: &str) -> Result<Bundle> {
        let mut hash = self.hash;
        hash.update(&self.output_name);
        let hash = hex::encode(&hash.finalize()[..16]);
        let manifest = json!({
            "hash": hash,
            "input": input,
            "output_name": self.output_name,
            "first_load_bytes": self.first_load_bytes,
            "files": self.files,
        });
        fs::write(self.folder.join("site.json"), serde_json::to_vec_pretty(&manifest)?)?;
        remove(&self.place)?;
        fs::rename(&self.folder, &self.place)?;
        eprintln!("   bundle: {:.1} kB as brotli", self.first_load_bytes as f64 / 1000.0);
        Ok(Bundle { folder: self.place, hash, first_load_bytes: self.first_load_bytes })
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The files below a folder by their path with `/`; none if the folder does not exist. Dot-files stay out.
fn read_folder(root: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = if root.is_dir() { vec![root.to_path_buf()] } else { Vec::new() };
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root)?.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
            files.insert(name.replace('\\', "/"), fs::read(&path)?);
        }
    }
    Ok(files)
}

fn entries(files: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&str, &[u8])> {
    files.iter().map(|(name, data)| (name.as_str(), &data[..]))
}

fn short_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_imported_from_their_new_folder_under_their_old_name() {
        let script = "import * as import1 from \"./snippets/a/inline0.js\"\nconst i = {\n  \"./snippets/a/inline0.js\": import1,\n};\n";
        let renamed = "import * as import1 from \"./snippets.f00/a/inline0.js\"\nconst i = {\n  \"./snippets/a/inline0.js\": import1,\n};\n";
        assert_eq!(rename_snippets(script, "snippets.f00"), renamed);
    }

    #[test]
    fn a_hash_tells_where_one_part_ends() {
        assert_ne!(short_hash([&b"ab"[..], b"c"]), short_hash([&b"a"[..], b"bc"]));
    }
}
