use std::sync::Arc;

use cri_client::Timeouts;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pods::Shown;
use crate::probes::Probing;
use crate::server::access::Access;

#[tokio::test]
async fn metrics_are_read_as_text_and_nothing_else_is_done_to_them() {
    let metrics = Metrics::new().expect("good names");
    metrics.orphan_found();
    let config = Arc::new(Config::default());
    let context = Context {
        access: Access::new(Arc::clone(&config), None, "n1".to_owned()),
        config,
        cri: cri_client::Client::new("/nowhere".into(), None, Timeouts::default()),
        pods: Shown::default(),
        metrics,
        probing: Probing::default(),
    };
    let uri = Uri::from_static("/metrics");
    let reply = answer(&context, &Method::GET, &uri).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let body = reply.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(text.contains("\nkubelet_orphaned_runtime_pods_total 1\n"), "{text}");
    let uri = Uri::from_static("/metrics/probes");
    let reply = answer(&context, &Method::GET, &uri).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(answer(&context, &method, &uri).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
