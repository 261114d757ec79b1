//! How the program is linked.

use std::process::Command;

/// The first glibc whose loader reads compact relocations.
const GLIBC: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 20,000 pointers in tables are put right at each start. One by one they are listed in half a megabyte, all of which the
    // loader reads and the process then holds; in this form they take a few kilobytes.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu")
        && glibc().is_some_and(|it| it >= GLIBC)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // What always runs lies side by side, see layout.ld. Not every linker reads that: who builds has to ask for it.
    println!("cargo::rerun-if-env-changed=NODELET_LAYOUT");
    println!("cargo::rerun-if-changed=layout.ld");
    if std::env::var_os("NODELET_LAYOUT").is_some() {
        let layout = concat!(env!("CARGO_MANIFEST_DIR"), "/layout.ld");
        println!("cargo::rustc-link-arg-bin=nodelet=-Wl,-T,{layout}");
    }
}

/// The version of this machine's glibc, for which the program is linked.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
