//! uWebSockets, whose sources are not here: the environment variable `MOTEWS_UWS` names a checkout of
//! it, with its submodule uSockets.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the tables call it.
pub const NAME: &str = "uWebSockets";

/// Builds its echo in `folder`. `None`: there is no checkout.
///
/// # Errors
/// What the system says, or the compilers.
pub fn build(folder: &Path) -> io::Result<Option<PathBuf>> {
    let Some(checkout) = std::env::var_os("MOTEWS_UWS") else {
        return Ok(None);
    };
    let checkout = std::fs::canonicalize(checkout)?;
    let sockets = checkout.join("uSockets/src");
    let objects: Vec<PathBuf> = [sockets.clone(), sockets.join("eventing")]
        .iter()
        .map(|folder| sources(folder))
        .collect::<io::Result<Vec<_>>>()?
        .concat();
    let include = |folder: &Path| format!("-I{}", folder.display());
    let mut c = Command::new("cc");
    c.current_dir(folder)
        .args(["-O3", "-DLIBUS_NO_SSL", "-c"])
        .arg(include(&sockets))
        .args(&objects);
    run(&mut c)?;
    let program = folder.join("uws-echo");
    let source = folder.join("uws.cpp");
    std::fs::write(&source, include_str!("uws.cpp"))?;
    let objects = objects.iter().filter_map(|source| source.file_stem());
    let objects = objects.map(|stem| folder.join(stem).with_extension("o"));
    let mut cpp = Command::new("c++");
    cpp.args(["-std=c++20", "-O3", "-DUWS_NO_ZLIB", "-DLIBUS_NO_SSL"])
        .arg(include(&checkout.join("src")))
        .arg(include(&sockets))
        .arg(source)
        .args(objects)
        .arg("-o")
        .arg(&program);
    run(&mut cpp)?;
    Ok(Some(program))
}

/// The C sources in a folder.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.path()));
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    Ok(files)
}

fn run(command: &mut Command) -> io::Result<()> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{command:?} failed"))),
    }
}
