use super::*;
use crate::metrics::Metrics;

#[test]
fn a_request_is_counted_when_it_comes_and_timed_when_nobody_answers_it_any_more() {
    let metrics = Metrics::new().expect("good names");
    let kind = Kind { path: "exec", server: "readwrite", is_long_running: true };
    let labels = "{long_running=\"true\",method=\"GET\",path=\"exec\",server_type=\"readwrite\"}";
    let has = |line: &str| {
        let text = metrics.text().expect("written");
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    };
    let body = metrics.http().begin("GET", kind);
    let stream = body.clone();
    drop(body);
    has(&format!("kubelet_http_requests_total{labels} 1"));
    has(&format!("kubelet_http_inflight_requests{labels} 1"));
    drop(stream);
    has(&format!("kubelet_http_inflight_requests{labels} 0"));
    has(&format!("kubelet_http_requests_duration_seconds_count{labels} 1"));
}

#[test]
fn methods_that_callers_make_up_are_one_series() {
    let metrics = Metrics::new().expect("good names");
    let kind = Kind { path: "other", server: "readonly", is_long_running: false };
    for method in ["BREW", "MELT", "get"] {
        drop(metrics.http().begin(method, kind));
    }
    let line = "kubelet_http_requests_total{long_running=\"false\",method=\"other\",path=\"other\",server_type=\"readonly\"} 3";
    let text = metrics.text().expect("written");
    assert!(text.lines().any(|l| l == line), "{text}");
}
