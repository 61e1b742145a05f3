//! Running programs: results, limits, and what ends them.

use std::time::{Duration, Instant};

use wrenn_rpc::{
    connectrpc::ErrorCode,
    hostagent::{
        ExecRequest, ExecStreamRequest, KillProcessRequest, ListProcessesRequest,
        SendProcessInputRequest, StartBackgroundRequest, error_detail::Reason,
        exec_stream_response::Event, kill_process_request,
    },
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{command, create, destroy, exec, host, reason, sh};

#[test]
fn programs_give_their_results_and_are_ended_with_their_group() {
    let host = host();
    let id = create(&host);
    let run = |words: &[&str]| exec(&host, id, words).expect("it is answered");

    let missing = run(&["no-such-program"]);
    assert_eq!(missing.exit_code, 127);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-program"));
    assert_eq!(run(&["/etc/passwd"]).exit_code, 126);
    assert_eq!(run(&["/bin/sh", "-c", "exit 7"]).exit_code, 7);
    assert_eq!(run(&["/bin/sh", "-c", "kill -TERM $$"]).exit_code, 143);
    let bytes = run(&["/bin/sh", "-c", r"printf '\377\376'; echo err >&2"]);
    assert_eq!(
        (bytes.stdout, bytes.stderr),
        (vec![0xff, 0xfe], b"err\n".to_vec())
    );

    let mut variables = command(&["/bin/sh", "-c", "echo $A; pwd; id -un"]);
    variables.envs = [("A".to_owned(), "1".to_owned())].into_iter().collect();
    variables.cwd = Some("/tmp".to_owned());
    variables.user = Some("user".to_owned());
    let request = ExecRequest {
        sandbox_id: id.to_string(),
        command: variables.into(),
        timeout_ms: 60_000,
        ..ExecRequest::default()
    };
    let done = host
        .block_on(host.client.exec(request.clone()))
        .expect("it runs")
        .into_owned();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "1\n/tmp\nuser\n");

    let refused = |change: &dyn Fn(&mut wrenn_rpc::hostagent::Command)| {
        let mut command = command(&["true"]);
        change(&mut command);
        let request = ExecRequest {
            command: command.into(),
            ..request.clone()
        };
        host.block_on(host.client.exec(request))
            .expect_err("it is refused")
    };
    let unknown = refused(&|command| command.user = Some("nobody-here".to_owned()));
    assert_eq!(
        (unknown.code, reason(&unknown)),
        (ErrorCode::InvalidArgument, Reason::UNKNOWN_USER)
    );
    let nowhere = refused(&|command| command.cwd = Some("/no/where".to_owned()));
    assert_eq!(
        (nowhere.code, reason(&nowhere)),
        (ErrorCode::InvalidArgument, Reason::BAD_WORKING_DIRECTORY)
    );

    floods_are_cut_and_go_on(&host, &request);
    limits_end_the_group(&host, &request);
    streams_flow_both_ways(&host, id);
    a_background_program_is_left_to_itself(&host, id);
    a_lost_caller_ends_the_group(&host, id);
    destroy(&host, id);
}

/// 100 MB of output: the answer holds what was asked for, the program ran to its end.
fn floods_are_cut_and_go_on(host: &AgentHost, request: &ExecRequest) {
    let line = "head -c 100000000 /dev/zero; echo done > /tmp/flooded";
    let request = ExecRequest {
        command: command(&["/bin/sh", "-c", line]).into(),
        timeout_ms: 600_000,
        output_limit_bytes: 1 << 20,
        ..request.clone()
    };
    let id = request.sandbox_id.parse().expect("an id");
    let done = host
        .block_on(host.client.exec(request))
        .expect("it runs")
        .into_owned();
    assert_eq!(
        (done.exit_code, done.stdout.len(), done.truncated),
        (0, 1 << 20, true)
    );
    assert_eq!(sh(host, id, "cat /tmp/flooded"), "done\n");
}

fn limits_end_the_group(host: &AgentHost, request: &ExecRequest) {
    let line = "echo begun; sleep 1000 & trap '' TERM; sleep 1001 & wait; wait";
    let request = ExecRequest {
        command: command(&["/bin/sh", "-c", line]).into(),
        timeout_ms: 3_000,
        ..request.clone()
    };
    let id = request.sandbox_id.parse().expect("an id");
    let done = host
        .block_on(host.client.exec(request))
        .expect("it is answered")
        .into_owned();
    assert!(done.timed_out);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "begun\n");
    assert_eq!(done.exit_code, 137);
    assert_eq!(sh(host, id, "pgrep -f 'sleep 100[01]' | wc -l").trim(), "0");
}

fn streams_flow_both_ways(host: &AgentHost, id: wrenn_ids::SandboxId) {
    host.block_on(async {
        let request = ExecStreamRequest {
            sandbox_id: id.to_string(),
            command: command(&["cat"]).into(),
            stdin: true,
            ..ExecStreamRequest::default()
        };
        let mut stream = host.client.exec_stream(request).await.expect("it starts");
        let mut output = Vec::new();
        let mut exit_code = None;
        while let Some(message) = stream.message().await.expect("it goes on") {
            let message: wrenn_rpc::hostagent::ExecStreamResponse = message.to_owned_message();
            match message.event.expect("an event") {
                Event::Started(started) => {
                    let listed = host
                        .client
                        .list_processes(ListProcessesRequest {
                            sandbox_id: id.to_string(),
                            ..Default::default()
                        })
                        .await
                        .expect("they are listed")
                        .into_owned();
                    assert!(
                        listed
                            .processes
                            .iter()
                            .any(|process| process.pid == started.pid)
                    );
                    let input = SendProcessInputRequest {
                        sandbox_id: id.to_string(),
                        pid: started.pid,
                        data: b"hello".to_vec(),
                        close: true,
                        ..SendProcessInputRequest::default()
                    };
                    host.client
                        .send_process_input(input)
                        .await
                        .expect("it is taken");
                }
                Event::Stdout(bytes) => output.extend(bytes),
                Event::Stderr(_) | Event::Keepalive(_) => {}
                Event::Exited(exited) => exit_code = Some(exited.exit_code),
            }
        }
        assert_eq!((output.as_slice(), exit_code), (&b"hello"[..], Some(0)));

        let unknown = host
            .client
            .kill_process(KillProcessRequest {
                sandbox_id: id.to_string(),
                process: Some(kill_process_request::Process::Pid(999_999)),
                signal: 9,
                ..Default::default()
            })
            .await
            .expect_err("there is none");
        assert_eq!(
            (unknown.code, reason(&unknown)),
            (ErrorCode::NotFound, Reason::PROCESS_NOT_FOUND)
        );
    });
}

fn a_background_program_is_left_to_itself(host: &AgentHost, id: wrenn_ids::SandboxId) {
    host.block_on(async {
        let start = |argv: &[&str]| StartBackgroundRequest {
            sandbox_id: id.to_string(),
            command: command(argv).into(),
            tag: "server".to_owned(),
            ..StartBackgroundRequest::default()
        };
        let started = host.client.start_background(start(&["sleep", "3000"]));
        let pid = started.await.expect("it starts").into_owned().pid;

        let list = ListProcessesRequest {
            sandbox_id: id.to_string(),
            ..ListProcessesRequest::default()
        };
        let listed = host.client.list_processes(list.clone()).await;
        let listed = listed.expect("they are listed").into_owned().processes;
        let found = listed.iter().find(|process| process.pid == pid);
        assert_eq!(found.map(|process| process.tag.as_str()), Some("server"));

        let refused = async |argv: &[&str]| {
            let error = host.client.start_background(start(argv)).await;
            let error = error.expect_err("it is refused");
            (error.code, reason(&error))
        };
        let clash = (ErrorCode::AlreadyExists, Reason::TAG_IN_USE);
        assert_eq!(refused(&["sleep", "1"]).await, clash);

        let kill = KillProcessRequest {
            sandbox_id: id.to_string(),
            process: Some(kill_process_request::Process::Tag("server".to_owned())),
            signal: 9,
            ..KillProcessRequest::default()
        };
        host.client.kill_process(kill).await.expect("it is killed");
        let missing = (ErrorCode::InvalidArgument, Reason::PROGRAM_NOT_FOUND);
        assert_eq!(refused(&["/no/such/program"]).await, missing);
        let listed = host.client.list_processes(list).await;
        let listed = listed.expect("they are listed").into_owned().processes;
        assert!(listed.iter().all(|process| process.pid != pid));
    });
}

fn a_lost_caller_ends_the_group(host: &AgentHost, id: wrenn_ids::SandboxId) {
    host.block_on(async {
        let request = ExecStreamRequest {
            sandbox_id: id.to_string(),
            command: command(&["sleep", "2000"]).into(),
            ..ExecStreamRequest::default()
        };
        let mut stream = host.client.exec_stream(request).await.expect("it starts");
        let started = stream
            .message::<wrenn_rpc::hostagent::ExecStreamResponse>()
            .await;
        assert!(started.expect("it goes on").is_some());
    });
    let until = Instant::now() + Duration::from_secs(60);
    while exec(host, id, &["pgrep", "-f", "sleep 2000"])
        .expect("it runs")
        .exit_code
        == 0
    {
        assert!(Instant::now() < until, "the program outlives its caller");
    }
}
