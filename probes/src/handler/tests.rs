use k8s_openapi::api::core::v1::{
    ContainerPort, ExecAction, GRPCAction, HTTPGetAction, HTTPHeader, TCPSocketAction,
};

use super::*;

fn container() -> Container {
    let port = |name: &str, container_port| ContainerPort {
        name: Some(name.to_owned()),
        container_port,
        ..ContainerPort::default()
    };
    Container { ports: Some(vec![port("web", 8080), port("8081", 9000)]), ..Container::default() }
}

fn named(name: &str) -> IntOrString {
    IntOrString::String(name.to_owned())
}

#[test]
fn row_19_10_ports_are_numbers_or_names_of_the_containers() {
    let cases = [
        (IntOrString::Int(80), Some(80)),
        (IntOrString::Int(65_535), Some(65_535)),
        (IntOrString::Int(65_536), None),
        (IntOrString::Int(0), None),
        (IntOrString::Int(-1), None),
        (named("web"), Some(8080)),
        (named("8081"), Some(9000)),
        (named("8082"), Some(8082)),
        (named("other"), None),
        (named("70000"), None),
    ];
    for (given, number) in cases {
        assert_eq!(port(&given, &container()), number, "{given:?}");
    }
}

#[test]
fn the_host_is_the_pods_unless_another_is_given() {
    let http = |host: Option<&str>| Probe {
        http_get: Some(HTTPGetAction {
            host: host.map(str::to_owned),
            path: Some("/x?y".to_owned()),
            port: named("web"),
            scheme: Some("HTTPS".to_owned()),
            http_headers: Some(vec![HTTPHeader { name: "A".to_owned(), value: "b".to_owned() }]),
        }),
        ..Probe::default()
    };
    for (given, ip, host) in
        [(None, Some("10.0.0.2"), "10.0.0.2"), (Some(""), Some("::1"), "::1"), (Some("h"), None, "h")]
    {
        let handler = Handler::of(&http(given), &container(), ip);
        let expected = Http {
            scheme: Scheme::Https,
            host: host.to_owned(),
            port: 8080,
            path: "/x?y".to_owned(),
            headers: vec![("A".to_owned(), "b".to_owned())],
        };
        assert_eq!(handler, Ok(Handler::Http(Box::new(expected))));
    }
    assert_eq!(Handler::of(&http(None), &container(), None), Err(HandlerError::NoAddress));
}

#[test]
fn each_kind_of_probe_has_its_lane() {
    let exec =
        Probe { exec: Some(ExecAction { command: Some(vec!["true".to_owned()]) }), ..Probe::default() };
    let tcp = Probe {
        tcp_socket: Some(TCPSocketAction { host: None, port: IntOrString::Int(5) }),
        ..Probe::default()
    };
    let grpc = Probe { grpc: Some(GRPCAction { port: 6, service: None }), ..Probe::default() };
    let ip = Some("10.0.0.2");
    let host = "10.0.0.2".to_owned();
    let cases = [
        (exec, Handler::Exec { command: vec!["true".to_owned()] }, Lane::Exec),
        (tcp, Handler::Tcp { host: host.clone(), port: 5 }, Lane::Network),
        (grpc, Handler::Grpc { host, port: 6, service: String::new() }, Lane::Network),
    ];
    for (probe, handler, lane) in cases {
        assert_eq!(handler.lane(), lane);
        assert_eq!(Handler::of(&probe, &container(), ip), Ok(handler));
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    let nothing = Handler::of(&Probe::default(), &container(), Some("::1"));
    assert_eq!(nothing, Err(HandlerError::NoHandler));
    let tcp = |port| Probe { tcp_socket: Some(TCPSocketAction { host: None, port }), ..Probe::default() };
    let told = |port| Handler::of(&tcp(port), &container(), Some("::1")).unwrap_err().to_string();
    assert_eq!(told(named("other")), "invalid port: \"other\" is no port of the container");
    assert_eq!(told(IntOrString::Int(0)), "invalid port: 0 is no port of the container");
    let grpc = Probe { grpc: Some(GRPCAction { port: 0, service: None }), ..Probe::default() };
    assert!(Handler::of(&grpc, &container(), Some("::1")).is_err());
}
