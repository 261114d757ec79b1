use super::*;

#[test]
fn checks_are_counted_by_how_they_came_out_until_somebody_resets_them() {
    let slis = Slis::new().expect("good names");
    assert_eq!(slis.text().expect("written"), "");
    slis.checked("syncloop", true);
    slis.checked("syncloop", false);
    let text = slis.text().expect("written");
    for line in [
        "kubernetes_healthcheck{name=\"syncloop\",type=\"healthz\"} 0",
        "kubernetes_healthchecks_total{name=\"syncloop\",status=\"error\",type=\"healthz\"} 1",
        "kubernetes_healthchecks_total{name=\"syncloop\",status=\"success\",type=\"healthz\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    slis.reset();
    assert_eq!(slis.text().expect("written"), "");
}
