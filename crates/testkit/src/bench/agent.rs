//! What a bench asks of a host agent, by the control plane's own contract.

use std::{fmt, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::stream;
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::connectrpc::client::CallOptions;
use wrenn_rpc::hostagent::{
    __buffa::oneof::write_file_stream_request::Part,
    Command, CreateSandboxRequest, DestroySandboxRequest, ExecRequest, ForkSandboxRequest,
    GetHostInfoRequest, Operation, PauseSandboxRequest, ReadFileStreamRequest,
    ResumeSandboxRequest, WriteFileStreamRequest,
    write_file_stream_request::{End, Head},
};

use crate::agent_authority::AgentClient;

/// Of every sandbox here.
pub const VCPUS: u32 = 1;
/// Of every sandbox here.
pub const MEMORY_MIB: u32 = 256;
/// Where a guest's own server listens.
pub const ENVD_PORT: u16 = 49983;

const DISK_MIB: u32 = 1024;
const EXEC_LIMIT_MS: u32 = 300_000;
const PIECE: usize = 64 << 10;

/// For pauses and restores, emulated.
fn patient() -> CallOptions {
    CallOptions::default().with_timeout(std::time::Duration::from_secs(300))
}

/// An agent.
pub struct Agent {
    client: AgentClient,
    host_id: String,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("host_id", &self.host_id)
            .finish_non_exhaustive()
    }
}

/// A sandbox of it.
#[derive(Debug)]
pub struct Sandbox {
    id: String,
    host_ip: String,
}

impl Sandbox {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the host reaches a port of the guest.
    ///
    /// # Errors
    /// When the agent named no address.
    pub fn port(&self, port: u16) -> Result<SocketAddr> {
        format!("{}:{port}", self.host_ip)
            .parse()
            .context("read the sandbox's address")
    }
}

impl Agent {
    /// The agent that `client` speaks to.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn new(client: AgentClient) -> Result<Self> {
        let info = client.get_host_info(GetHostInfoRequest::default()).await?;
        Ok(Self {
            client,
            host_id: info.into_owned().host_id,
        })
    }

    /// Creates a sandbox of the built-in template.
    ///
    /// # Errors
    /// When the agent refuses or fails.
    pub async fn create(&self) -> Result<Sandbox> {
        self.create_of(MEMORY_MIB).await
    }

    /// The same, of another memory.
    ///
    /// # Errors
    /// When the agent refuses or fails.
    pub async fn create_of(&self, memory_mib: u32) -> Result<Sandbox> {
        let id = SandboxId::new().to_string();
        let request = CreateSandboxRequest {
            operation: self.operation(1).into(),
            sandbox_id: id.clone(),
            template_id: TemplateId::ZERO.to_string(),
            vcpus: VCPUS,
            memory_mib,
            disk_mib: DISK_MIB,
            ..CreateSandboxRequest::default()
        };
        let created = self
            .client
            .create_sandbox(request)
            .await
            .context("create a sandbox")?;
        let sandbox = created.into_owned().sandbox.into_option();
        let host_ip = sandbox.context("the answer holds the sandbox")?.host_ip;
        Ok(Sandbox { id, host_ip })
    }

    /// Runs a program that must end with 0; what it printed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn exec(&self, sandbox: &Sandbox, words: &[&str]) -> Result<String> {
        let (cmd, args) = words.split_first().context("name a program")?;
        let command = Command {
            cmd: (*cmd).to_owned(),
            args: args.iter().map(|&word| word.to_owned()).collect(),
            ..Command::default()
        };
        let request = ExecRequest {
            sandbox_id: sandbox.id.clone(),
            command: command.into(),
            timeout_ms: EXEC_LIMIT_MS,
            ..ExecRequest::default()
        };
        let done = self
            .client
            .exec(request)
            .await
            .context("run a program")?
            .into_owned();
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.exit_code == 0,
            "{cmd} ended with {}: {stderr}",
            done.exit_code
        );
        String::from_utf8(done.stdout).context("read what a program printed")
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When the agent fails, or wrote another number of bytes.
    pub async fn upload(&self, sandbox: &Sandbox, path: &str, content: Bytes) -> Result<()> {
        let count = content.len();
        let part = |part| WriteFileStreamRequest {
            part: Some(part),
            ..WriteFileStreamRequest::default()
        };
        let head = Head {
            sandbox_id: sandbox.id.clone(),
            path: path.to_owned(),
            ..Head::default()
        };
        let pieces = (0..count).step_by(PIECE).map(move |from| {
            let piece = content.slice(from..count.min(from + PIECE));
            part(Part::Data(piece.to_vec()))
        });
        let parts = std::iter::once(part(Part::from(head)))
            .chain(pieces)
            .chain(std::iter::once(part(Part::from(End::default()))));
        let written = self.client.write_file_stream(stream::iter(parts)).await;
        let size = written.context("write a file")?.into_owned().size;
        ensure!(size == count as u64, "{size} bytes were written");
        Ok(())
    }

    /// Reads a file of `count` bytes.
    ///
    /// # Errors
    /// When the agent fails, or sent another number.
    pub async fn download(&self, sandbox: &Sandbox, path: &str, count: usize) -> Result<()> {
        let request = ReadFileStreamRequest {
            sandbox_id: sandbox.id.clone(),
            path: path.to_owned(),
            ..ReadFileStreamRequest::default()
        };
        let mut stream = self
            .client
            .read_file_stream(request)
            .await
            .context("read a file")?;
        let mut size = 0;
        while let Some(piece) = stream.message().await.context("read a piece of a file")? {
            size += piece.to_owned_message().data.len();
        }
        ensure!(size == count, "{size} bytes were read");
        Ok(())
    }

    /// Pauses a sandbox.
    ///
    /// # Errors
    /// When the agent fails.
    pub async fn pause(&self, sandbox: &Sandbox) -> Result<()> {
        let request = PauseSandboxRequest {
            operation: self.operation(1).into(),
            sandbox_id: sandbox.id.clone(),
            ..PauseSandboxRequest::default()
        };
        let paused = self.client.pause_sandbox_with_options(request, patient());
        paused.await.context("pause a sandbox").map(drop)
    }

    /// Resumes a sandbox.
    ///
    /// # Errors
    /// When the agent fails.
    pub async fn resume(&self, sandbox: &Sandbox) -> Result<()> {
        let request = ResumeSandboxRequest {
            operation: self.operation(1).into(),
            sandbox_id: sandbox.id.clone(),
            ..ResumeSandboxRequest::default()
        };
        let resumed = self.client.resume_sandbox_with_options(request, patient());
        resumed.await.context("resume a sandbox").map(drop)
    }

    /// Makes so many sandboxes from one.
    ///
    /// # Errors
    /// When the agent fails.
    pub async fn fork(&self, sandbox: &Sandbox, count: usize) -> Result<Vec<Sandbox>> {
        let request = ForkSandboxRequest {
            operation: self.operation(1).into(),
            sandbox_id: sandbox.id.clone(),
            child_ids: (0..count).map(|_| SandboxId::new().to_string()).collect(),
            ..ForkSandboxRequest::default()
        };
        let forked = self.client.fork_sandbox_with_options(request, patient());
        let children = forked
            .await
            .context("fork a sandbox")?
            .into_owned()
            .children;
        let of = |child: wrenn_rpc::hostagent::Sandbox| Sandbox {
            id: child.sandbox_id,
            host_ip: child.host_ip,
        };
        Ok(children.into_iter().map(of).collect())
    }

    /// Destroys a sandbox.
    ///
    /// # Errors
    /// When the agent fails.
    pub async fn destroy(&self, sandbox: Sandbox) -> Result<()> {
        let request = DestroySandboxRequest {
            operation: self.operation(2).into(),
            sandbox_id: sandbox.id,
            ..DestroySandboxRequest::default()
        };
        self.client
            .destroy_sandbox(request)
            .await
            .context("destroy a sandbox")?;
        Ok(())
    }

    fn operation(&self, generation: u64) -> Operation {
        Operation {
            op_id: format!("op-{}", uuid::Uuid::new_v4()),
            generation,
            host_id: self.host_id.clone(),
            ..Operation::default()
        }
    }
}
