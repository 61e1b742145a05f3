//! What a test makes go wrong, by method of the contract.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::error_detail::Reason,
};

use super::state::refusal;

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The work begins so much later.
    Delay(Duration),
    /// The call is refused and nothing is done.
    Refuse(ErrorCode),
    /// The call is refused with this typed reason and nothing is done.
    RefuseFor(ErrorCode, Reason),
    /// The work is done, but the reply is lost: the caller sees `unavailable`.
    LoseReply,
}

#[derive(Debug, Default)]
struct Method {
    calls: usize,
    fault: Option<(Fault, usize)>,
}

/// The faults of one agent.
#[derive(Debug, Default)]
pub struct Faults {
    methods: Mutex<HashMap<String, Method>>,
}

impl Faults {
    /// The next `times` calls of the method meet this fault.
    pub fn set(&self, method: &str, fault: Fault, times: usize) {
        self.methods
            .lock()
            .entry(method.to_owned())
            .or_default()
            .fault = Some((fault, times));
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.methods
            .lock()
            .values_mut()
            .for_each(|method| method.fault = None);
    }

    pub(super) fn calls(&self, method: &str) -> usize {
        self.methods
            .lock()
            .get(method)
            .map_or(0, |method| method.calls)
    }

    fn take(&self, name: &str) -> Option<Fault> {
        let mut methods = self.methods.lock();
        let method = methods.entry(name.to_owned()).or_default();
        method.calls += 1;
        let (fault, times) = method.fault.take()?;
        if times > 1 {
            method.fault = Some((fault.clone(), times - 1));
        }
        Some(fault)
    }

    /// Runs `work` as the call of `method`, with whatever is set for it.
    pub(super) async fn around<T>(
        &self,
        method: &str,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        match self.take(method) {
            None => work.await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                work.await
            }
            Some(Fault::Refuse(code)) => Err(ConnectError::new(code, "refused by the test")),
            Some(Fault::RefuseFor(code, why)) => Err(refusal(code, why, "refused by the test")),
            Some(Fault::LoseReply) => {
                work.await?;
                Err(ConnectError::unavailable("the reply was lost by the test"))
            }
        }
    }
}
