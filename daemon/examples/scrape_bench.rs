//! `scrape_bench [PODS] [SCRAPES]`: what one scrape of `/metrics/cadvisor` costs. Prints one JSON object, times in milliseconds of processor time.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pods = arguments.next().map_or(Ok(100), |n| n.parse()).context("PODS is a number")?;
    let scrapes = arguments.next().map_or(Ok(50), |n| n.parse()).context("SCRAPES is a number")?;
    let directory = std::env::temp_dir().join(format!("scrape-bench-{}", std::process::id()));
    let measured = nodelet::measure::scrapes(&directory, pods, scrapes);
    std::fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
    let measured = measured.with_context(|| format!("measuring in {}", directory.display()))?;
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let (read, write) = (millis(measured.read), millis(measured.write));
    println!(
        "{}",
        serde_json::json!({ "pods": pods, "read": read, "write": write, "bytes": measured.bytes })
    );
    Ok(())
}
