//! Compiles the pause program for the target, alone: no standard library, no C library, no start files.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/program.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("pause");
    let mut rustc = Command::new(env::var_os("RUSTC").ok_or("no RUSTC")?);
    rustc
        .args(["--crate-name=pause_program", "--crate-type=bin", "--edition=2024"])
        .args(["-Cpanic=abort", "-Copt-level=s", "-Crelocation-model=static", "-Cstrip=symbols"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
        .args(["-Clink-arg=-Wl,--build-id=none,-z,noseparate-code"])
        .arg(format!("--target={}", env::var("TARGET")?))
        .arg("-o")
        .arg(&out)
        .arg("src/program.rs")
        // What cargo sets for itself is not meant for this program.
        .env_remove("RUSTC_WRAPPER")
        .env("PAUSE_VERSION", env::var("CARGO_PKG_VERSION")?);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={}", linker.to_string_lossy()));
    }
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("compiling the pause program: {status}").into());
    }
    Ok(())
}
