//! What must be refused: foreign callers, ids that are paths, sizes out of bounds.

use wrenn_ids::{HostId, SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::ErrorCode,
    hostagent::{
        CreateSandboxRequest, DestroySandboxRequest, ExecRequest, GetHostInfoRequest,
        GetSandboxRequest, ListTemplatesRequest, NetworkPolicy, ReadFileStreamRequest,
        ReadFileStreamResponse, error_detail::Reason,
    },
};

use crate::fixture::{command, create_request, host, operation, operation_for, reason};

#[test]
fn only_the_control_plane_may_call() {
    let host = host();
    let refused = |uri: Option<&str>| {
        let client = host
            .authority
            .client_named(host.address(), uri)
            .expect("a client");
        host.block_on(client.get_host_info(GetHostInfoRequest::default()))
            .is_err()
    };
    assert!(refused(None));
    assert!(refused(Some("wrenn://host/host-0000000000000000000000001")));
    assert!(refused(Some("wrenn://control-plane.example")));
    let stranger = host
        .block_on(wrenn_testkit::agent_authority::AgentAuthority::start())
        .expect("a CA");
    let client = stranger.client(host.address()).expect("a client");
    assert!(
        host.block_on(client.get_host_info(GetHostInfoRequest::default()))
            .is_err()
    );
    assert!(!refused(Some("wrenn://control-plane")));
}

#[test]
fn nothing_is_made_of_a_request_out_of_bounds() {
    let host = host();
    let before = host.census().expect("count");
    let refused = |change: &dyn Fn(&mut CreateSandboxRequest), code: ErrorCode, why: Reason| {
        let mut request = create_request(&host, SandboxId::new());
        change(&mut request);
        let error = host
            .block_on(host.client.create_sandbox(request))
            .expect_err("it is refused");
        assert_eq!((error.code, reason(&error)), (code, why), "{error}");
    };
    let (invalid, none) = (ErrorCode::InvalidArgument, Reason::REASON_UNSPECIFIED);
    for id in ["..", "sb-../../../../../../tmp/x000", "", "/etc", "sb-"] {
        refused(&|request| request.sandbox_id = id.to_owned(), invalid, none);
        refused(
            &|request| request.template_id = id.to_owned(),
            invalid,
            none,
        );
    }
    for vcpus in [0, 33, u32::MAX] {
        refused(&|request| request.vcpus = vcpus, invalid, none);
    }
    for memory in [0, 127, 129, 65_538] {
        refused(&|request| request.memory_mib = memory, invalid, none);
    }
    for disk in [0, 1023, 102_401] {
        refused(&|request| request.disk_mib = disk, invalid, none);
    }
    refused(
        &|request| request.memory_mib = 65_536,
        ErrorCode::ResourceExhausted,
        Reason::NO_CAPACITY,
    );
    let unknown = TemplateId::new().to_string();
    refused(
        &|request| request.template_id.clone_from(&unknown),
        ErrorCode::NotFound,
        Reason::TEMPLATE_NOT_FOUND,
    );
    refused(&|request| drop(request.operation.take()), invalid, none);
    refused(
        &|request| request.operation = operation_for(HostId::new(), 1).into(),
        ErrorCode::FailedPrecondition,
        Reason::WRONG_HOST,
    );
    refused(
        &|request| drop(request.envs.insert("A=B".to_owned(), "1".to_owned())),
        invalid,
        none,
    );
    let policy = NetworkPolicy {
        allow_out: vec!["not-a-range".to_owned()],
        ..Default::default()
    };
    refused(
        &|request| request.network = policy.clone().into(),
        invalid,
        none,
    );
    host.await_census(&before).expect("nothing is left");
}

#[test]
fn an_unknown_sandbox_is_not_found_and_a_strange_one_is_invalid() {
    let host = host();
    let check = |id: &str, expected: ErrorCode| {
        let get = GetSandboxRequest {
            sandbox_id: id.to_owned(),
            ..Default::default()
        };
        let error = host
            .block_on(host.client.get_sandbox(get))
            .expect_err("there is none");
        assert_eq!(error.code, expected, "{id}");
        let exec = ExecRequest {
            sandbox_id: id.to_owned(),
            command: command(&["true"]).into(),
            ..ExecRequest::default()
        };
        let error = host
            .block_on(host.client.exec(exec))
            .expect_err("there is none");
        assert_eq!(error.code, expected, "{id}");
        let read = ReadFileStreamRequest {
            sandbox_id: id.to_owned(),
            path: "/etc/passwd".to_owned(),
            ..ReadFileStreamRequest::default()
        };
        let error = host.block_on(async {
            let mut stream = host.client.read_file_stream(read).await?;
            stream.message::<ReadFileStreamResponse>().await.map(drop)
        });
        assert_eq!(error.expect_err("there is none").code, expected, "{id}");
    };
    check(&SandboxId::new().to_string(), ErrorCode::NotFound);
    check("../../etc", ErrorCode::InvalidArgument);
    check("sb-..00000000000000000000000", ErrorCode::InvalidArgument);
    let absent = DestroySandboxRequest {
        operation: operation(&host, 1).into(),
        sandbox_id: SandboxId::new().to_string(),
        ..DestroySandboxRequest::default()
    };
    host.block_on(host.client.destroy_sandbox(absent))
        .expect("destroying what is not there is done");
}

#[test]
fn the_host_describes_itself() {
    let host = host();
    let info = host.block_on(host.client.get_host_info(GetHostInfoRequest::default()));
    let info = info.expect("it answers").into_owned();
    assert_eq!(info.host_id, host.authority.host_id.to_string());
    assert!(info.cpu_cores > 0 && info.memory_mib > 1000 && info.disk_free_mib > 1000);
    assert!(
        info.firecracker_version.starts_with("1."),
        "{}",
        info.firecracker_version
    );
    let templates = host.block_on(host.client.list_templates(ListTemplatesRequest::default()));
    let templates = templates.expect("they are listed").into_owned().templates;
    assert_eq!(
        templates
            .iter()
            .map(|template| template.name.as_str())
            .collect::<Vec<_>>(),
        ["minimal"]
    );
    let metrics = host
        .shell("curl -s http://127.0.0.1:9444/metrics || wget -qO- http://127.0.0.1:9444/metrics");
    assert!(
        metrics
            .expect("they are served")
            .contains("wrenn_agent_heartbeats_total")
    );
}
