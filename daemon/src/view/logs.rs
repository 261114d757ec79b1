//! `nodelet logs`: what a container has written, as port 10250 has it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use form_urlencoded::Serializer;
use http_body_util::BodyExt as _;

use super::socket::AskError;
use super::target::{self, Target};
use super::{ViewError, root_dir, socket};
use crate::config::GoDuration;

pub(super) fn command() -> Command {
    let switch = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name).long(name).short(short).action(ArgAction::SetTrue).help(help)
    };
    Command::new("nodelet logs")
        .about("Prints what a container of this node has written, also when its pod is static or the API server is away")
        .arg(target::pod())
        .arg(target::container())
        .arg(switch("follow", 'f', "Go on with what it writes from now on"))
        .arg(switch("previous", 'p', "The run before the one that is now"))
        .arg(
            Arg::new("tail")
                .long("tail")
                .value_name("LINES")
                .value_parser(value_parser!(u64))
                .help("Only so many of the last lines"),
        )
        .arg(
            Arg::new("since")
                .long("since")
                .value_name("DURATION")
                .value_parser(since)
                .help("Only what is no older than that, as 90s, 5m or 1h30m"),
        )
        .arg(
            Arg::new("timestamps")
                .long("timestamps")
                .action(ArgAction::SetTrue)
                .help("When each line was written, before it"),
        )
        .arg(root_dir())
}

/// In whole seconds, rounded up: part of one is not asked for.
fn since(text: &str) -> Result<u64, String> {
    let duration = text.parse::<GoDuration>().map_err(|error| error.to_string())?.to_std();
    match duration.as_millis().div_ceil(1000) {
        0 => Err("it must be longer than nothing".to_owned()),
        seconds => Ok(u64::try_from(seconds).unwrap_or(u64::MAX)),
    }
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let socket = socket(&matches);
    let named = matches.get_one::<String>("pod").map(String::as_str).unwrap_or_default();
    let target = Target::find(&socket, named, matches.get_one("container")).await?;
    let path = format!("/containerLogs{}?{}", target.path(), query(&matches));
    let mut body = socket.get(&path).await?;
    let mut out = io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| AskError::Broken { what: "the log".to_owned(), source })?;
        if let Ok(part) = frame.into_data() {
            out.write_all(&part).and_then(|()| out.flush()).map_err(ViewError::Output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn query(matches: &ArgMatches) -> String {
    let mut query = Serializer::new(String::new());
    for name in ["follow", "previous", "timestamps"] {
        if matches.get_flag(name) {
            query.append_pair(name, "true");
        }
    }
    for (name, key) in [("tail", "tailLines"), ("since", "sinceSeconds")] {
        if let Some(number) = matches.get_one::<u64>(name) {
            query.append_pair(key, &number.to_string());
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<String, clap::Error> {
        command().try_get_matches_from(line.split(' ')).map(|matches| query(&matches))
    }

    #[test]
    fn flags_are_what_port_10250_is_asked_for() {
        assert_eq!(asked("logs ns/p").unwrap(), "");
        let all = "logs -f --previous --tail=10 --since 1m30s --timestamps ns/p -c c";
        assert_eq!(
            asked(all).unwrap(),
            "follow=true&previous=true&timestamps=true&tailLines=10&sinceSeconds=90"
        );
        assert_eq!(asked("logs p --since 100ms").unwrap(), "sinceSeconds=1");
        for wrong in ["logs", "logs p --tail -1", "logs p --since 0s", "logs p --since soon"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
