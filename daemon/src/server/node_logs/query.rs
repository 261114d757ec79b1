//! What a node log query asks for, and what is wrong with it, in a kubelet's words (behaviour.md 35.10). Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// More lines than this are not asked for at once.
const MOST_LINES: i64 = 100_000;
const MOST_SERVICES: usize = 4;
/// Bytes. What is said of longer ones is a kubelet's word.
const LONGEST_SERVICE: usize = 256;

/// A query; one of nothing is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeLogQuery {
    pub(super) services: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) options: Options,
}

/// Which lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) tail_lines: Option<i64>,
    /// 0 is this boot, -1 the one before it.
    pub(super) boot: Option<i64>,
    pub(super) pattern: String,
}

/// Reads a query string.
///
/// # Errors
/// What cannot be read.
pub(super) fn parse(query: &str) -> Result<Option<NodeLogQuery>, String> {
    let mut errors = Vec::new();
    let all: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let first = |name: &str| {
        all.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    };
    let mut wanted = NodeLogQuery::default();
    let asked: Vec<String> =
        all.iter().filter(|(key, _)| key == "query").map(|(_, value)| value.clone()).collect();
    for value in &asked {
        if value.contains(['/', '\\']) {
            wanted.files.push(value.clone());
        } else if !value.trim().is_empty() {
            wanted.services.push(value.clone());
        }
    }
    if !asked.is_empty() && wanted.files.is_empty() && wanted.services.is_empty() {
        errors.push(invalid("query", &strings(&asked), "query cannot be empty"));
    }
    let options = &mut wanted.options;
    for (name, into) in [("sinceTime", &mut options.since), ("untilTime", &mut options.until)] {
        if let Some(value) = first(name) {
            match value.parse() {
                Ok(time) => *into = Some(time),
                Err(_) => errors.push(invalid(name, &quoted(value), "invalid time format")),
            }
        }
    }
    for (name, into) in [("boot", &mut options.boot), ("tailLines", &mut options.tail_lines)] {
        if let Some(value) = first(name) {
            match whole(value) {
                Ok(number) => *into = Some(number),
                Err(why) => errors.push(invalid(name, &quoted(value), &why)),
            }
        }
    }
    options.pattern = first("pattern").unwrap_or_default().to_owned();
    all_of(errors)?;
    Ok(Some(wanted).filter(|wanted| *wanted != NodeLogQuery::default()))
}

impl NodeLogQuery {
    /// Whether it can be answered; `stat` tells what is wrong with a file. The pattern is judged by whoever looks for it.
    ///
    /// # Errors
    /// All that is wrong.
    pub(super) fn validate(&self, stat: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
        let mut errors = Vec::new();
        for service in &self.services {
            let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '@');
            if service.len() > LONGEST_SERVICE {
                errors.push(invalid("query", &quoted(service), "length must be less than 100"));
            } else if !service.chars().all(is_safe) {
                errors.push(invalid("query", &quoted(service), "input contains unsupported characters"));
            }
        }
        if self.services.len() > MOST_SERVICES {
            let count = self.services.len();
            errors.push(format!("query: Too many: {count}: must have at most {MOST_SERVICES} items"));
        }
        let files = strings(&self.files);
        match self.files.as_slice() {
            [] if self.services.is_empty() => {
                errors.push("query: Required value: cannot be empty with options".to_owned());
            }
            [] => {}
            _ if !self.services.is_empty() => {
                let both = format!("[{}], [{}]", self.files.join(" "), self.services.join(" "));
                errors.push(invalid("query", &quoted(&both), "cannot specify a file and service"));
            }
            [file] if self.options == Options::default() => {
                if let Err(why) = stat(file) {
                    errors.push(invalid("query", &files, &why));
                }
            }
            [_] => errors.push(invalid("query", &files, "cannot specify file with options")),
            _ => errors.push(invalid("query", &files, "cannot specify more than one file")),
        }
        let Options { since, until, tail_lines, boot, .. } = &self.options;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            let until = until.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC");
            errors.push(invalid("untilTime", &until.to_string(), "must be after `sinceTime`"));
        }
        if let Some(boot) = boot.filter(|boot| *boot > 0) {
            errors.push(invalid("boot", &boot.to_string(), "must be less than 1"));
        }
        if let Some(lines) = tail_lines.filter(|lines| !(0..=MOST_LINES).contains(lines)) {
            let range = format!("must be between 0 and {MOST_LINES}, inclusive");
            errors.push(invalid("tailLines", &lines.to_string(), &range));
        }
        all_of(errors)
    }
}

/// Says so of one field.
pub(super) fn invalid(field: &str, value: &str, why: &str) -> String {
    format!("{field}: Invalid value: {value}: {why}")
}

pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// As Go writes a list of texts.
fn strings(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[]string{{{}}}", texts.join(", "))
}

/// As Go reads a number.
fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {why}")
    })
}

/// Several errors as one, each said once.
fn all_of(errors: Vec<String>) -> Result<(), String> {
    let mut said: Vec<String> = Vec::new();
    for error in errors {
        if !said.contains(&error) {
            said.push(error);
        }
    }
    match said.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

#[cfg(test)]
mod tests;
