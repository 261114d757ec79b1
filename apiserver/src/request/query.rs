//! The raw query parameters.

/// Most parameters that are read.
const PARAMETERS_LIMIT: usize = 256;

/// A parameter that is not what it should be; a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("the query has more than {PARAMETERS_LIMIT} parameters")]
    TooMany,
    // What Go's strconv says, which is what clients see from upstream.
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Number(String),
}

/// Decoded parameters in their order. Where one is repeated, the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parameters = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if parameters.len() == PARAMETERS_LIMIT {
                return Err(QueryError::TooMany);
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Like [`Query::get`]; an empty value counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream reads it: whatever is not `false` or `0` is true, the bare name too.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, QueryError> {
        self.text(name).map(|v| v.parse().map_err(|_| QueryError::Number(v.to_owned()))).transpose()
    }
}
