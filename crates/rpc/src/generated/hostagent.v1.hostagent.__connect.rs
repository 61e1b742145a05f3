///Shorthand for `OwnedView<CreateSandboxRequestView<'static>>`.
pub type OwnedCreateSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::CreateSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<CreateSandboxResponseView<'static>>`.
pub type OwnedCreateSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::CreateSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<DestroySandboxRequestView<'static>>`.
pub type OwnedDestroySandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::DestroySandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<DestroySandboxResponseView<'static>>`.
pub type OwnedDestroySandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::DestroySandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<GetSandboxRequestView<'static>>`.
pub type OwnedGetSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::GetSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<GetSandboxResponseView<'static>>`.
pub type OwnedGetSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::GetSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<ListSandboxesRequestView<'static>>`.
pub type OwnedListSandboxesRequestView = ::buffa::view::OwnedView<
    __buffa::view::ListSandboxesRequestView<'static>,
>;
///Shorthand for `OwnedView<ListSandboxesResponseView<'static>>`.
pub type OwnedListSandboxesResponseView = ::buffa::view::OwnedView<
    __buffa::view::ListSandboxesResponseView<'static>,
>;
///Shorthand for `OwnedView<PingSandboxRequestView<'static>>`.
pub type OwnedPingSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::PingSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<PingSandboxResponseView<'static>>`.
pub type OwnedPingSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::PingSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<PauseSandboxRequestView<'static>>`.
pub type OwnedPauseSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::PauseSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<PauseSandboxResponseView<'static>>`.
pub type OwnedPauseSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::PauseSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<ResumeSandboxRequestView<'static>>`.
pub type OwnedResumeSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::ResumeSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<ResumeSandboxResponseView<'static>>`.
pub type OwnedResumeSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::ResumeSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<ForkSandboxRequestView<'static>>`.
pub type OwnedForkSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::ForkSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<ForkSandboxResponseView<'static>>`.
pub type OwnedForkSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::ForkSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<UpdateSandboxRequestView<'static>>`.
pub type OwnedUpdateSandboxRequestView = ::buffa::view::OwnedView<
    __buffa::view::UpdateSandboxRequestView<'static>,
>;
///Shorthand for `OwnedView<UpdateSandboxResponseView<'static>>`.
pub type OwnedUpdateSandboxResponseView = ::buffa::view::OwnedView<
    __buffa::view::UpdateSandboxResponseView<'static>,
>;
///Shorthand for `OwnedView<ExecRequestView<'static>>`.
pub type OwnedExecRequestView = ::buffa::view::OwnedView<
    __buffa::view::ExecRequestView<'static>,
>;
///Shorthand for `OwnedView<ExecResponseView<'static>>`.
pub type OwnedExecResponseView = ::buffa::view::OwnedView<
    __buffa::view::ExecResponseView<'static>,
>;
///Shorthand for `OwnedView<ExecStreamRequestView<'static>>`.
pub type OwnedExecStreamRequestView = ::buffa::view::OwnedView<
    __buffa::view::ExecStreamRequestView<'static>,
>;
///Shorthand for `OwnedView<ExecStreamResponseView<'static>>`.
pub type OwnedExecStreamResponseView = ::buffa::view::OwnedView<
    __buffa::view::ExecStreamResponseView<'static>,
>;
///Shorthand for `OwnedView<StartBackgroundRequestView<'static>>`.
pub type OwnedStartBackgroundRequestView = ::buffa::view::OwnedView<
    __buffa::view::StartBackgroundRequestView<'static>,
>;
///Shorthand for `OwnedView<StartBackgroundResponseView<'static>>`.
pub type OwnedStartBackgroundResponseView = ::buffa::view::OwnedView<
    __buffa::view::StartBackgroundResponseView<'static>,
>;
///Shorthand for `OwnedView<SendProcessInputRequestView<'static>>`.
pub type OwnedSendProcessInputRequestView = ::buffa::view::OwnedView<
    __buffa::view::SendProcessInputRequestView<'static>,
>;
///Shorthand for `OwnedView<SendProcessInputResponseView<'static>>`.
pub type OwnedSendProcessInputResponseView = ::buffa::view::OwnedView<
    __buffa::view::SendProcessInputResponseView<'static>,
>;
///Shorthand for `OwnedView<ListProcessesRequestView<'static>>`.
pub type OwnedListProcessesRequestView = ::buffa::view::OwnedView<
    __buffa::view::ListProcessesRequestView<'static>,
>;
///Shorthand for `OwnedView<ListProcessesResponseView<'static>>`.
pub type OwnedListProcessesResponseView = ::buffa::view::OwnedView<
    __buffa::view::ListProcessesResponseView<'static>,
>;
///Shorthand for `OwnedView<KillProcessRequestView<'static>>`.
pub type OwnedKillProcessRequestView = ::buffa::view::OwnedView<
    __buffa::view::KillProcessRequestView<'static>,
>;
///Shorthand for `OwnedView<KillProcessResponseView<'static>>`.
pub type OwnedKillProcessResponseView = ::buffa::view::OwnedView<
    __buffa::view::KillProcessResponseView<'static>,
>;
///Shorthand for `OwnedView<ReadFileStreamRequestView<'static>>`.
pub type OwnedReadFileStreamRequestView = ::buffa::view::OwnedView<
    __buffa::view::ReadFileStreamRequestView<'static>,
>;
///Shorthand for `OwnedView<ReadFileStreamResponseView<'static>>`.
pub type OwnedReadFileStreamResponseView = ::buffa::view::OwnedView<
    __buffa::view::ReadFileStreamResponseView<'static>,
>;
///Shorthand for `OwnedView<WriteFileStreamRequestView<'static>>`.
pub type OwnedWriteFileStreamRequestView = ::buffa::view::OwnedView<
    __buffa::view::WriteFileStreamRequestView<'static>,
>;
///Shorthand for `OwnedView<WriteFileStreamResponseView<'static>>`.
pub type OwnedWriteFileStreamResponseView = ::buffa::view::OwnedView<
    __buffa::view::WriteFileStreamResponseView<'static>,
>;
///Shorthand for `OwnedView<ListTemplatesRequestView<'static>>`.
pub type OwnedListTemplatesRequestView = ::buffa::view::OwnedView<
    __buffa::view::ListTemplatesRequestView<'static>,
>;
///Shorthand for `OwnedView<ListTemplatesResponseView<'static>>`.
pub type OwnedListTemplatesResponseView = ::buffa::view::OwnedView<
    __buffa::view::ListTemplatesResponseView<'static>,
>;
///Shorthand for `OwnedView<CreateSnapshotRequestView<'static>>`.
pub type OwnedCreateSnapshotRequestView = ::buffa::view::OwnedView<
    __buffa::view::CreateSnapshotRequestView<'static>,
>;
///Shorthand for `OwnedView<CreateSnapshotResponseView<'static>>`.
pub type OwnedCreateSnapshotResponseView = ::buffa::view::OwnedView<
    __buffa::view::CreateSnapshotResponseView<'static>,
>;
///Shorthand for `OwnedView<DeleteSnapshotRequestView<'static>>`.
pub type OwnedDeleteSnapshotRequestView = ::buffa::view::OwnedView<
    __buffa::view::DeleteSnapshotRequestView<'static>,
>;
///Shorthand for `OwnedView<DeleteSnapshotResponseView<'static>>`.
pub type OwnedDeleteSnapshotResponseView = ::buffa::view::OwnedView<
    __buffa::view::DeleteSnapshotResponseView<'static>,
>;
///Shorthand for `OwnedView<GetHostInfoRequestView<'static>>`.
pub type OwnedGetHostInfoRequestView = ::buffa::view::OwnedView<
    __buffa::view::GetHostInfoRequestView<'static>,
>;
///Shorthand for `OwnedView<GetHostInfoResponseView<'static>>`.
pub type OwnedGetHostInfoResponseView = ::buffa::view::OwnedView<
    __buffa::view::GetHostInfoResponseView<'static>,
>;
///Shorthand for `OwnedView<SyncRequestView<'static>>`.
pub type OwnedSyncRequestView = ::buffa::view::OwnedView<
    __buffa::view::SyncRequestView<'static>,
>;
///Shorthand for `OwnedView<SyncResponseView<'static>>`.
pub type OwnedSyncResponseView = ::buffa::view::OwnedView<
    __buffa::view::SyncResponseView<'static>,
>;
///Shorthand for `OwnedView<WatchEventsRequestView<'static>>`.
pub type OwnedWatchEventsRequestView = ::buffa::view::OwnedView<
    __buffa::view::WatchEventsRequestView<'static>,
>;
///Shorthand for `OwnedView<WatchEventsResponseView<'static>>`.
pub type OwnedWatchEventsResponseView = ::buffa::view::OwnedView<
    __buffa::view::WatchEventsResponseView<'static>,
>;
impl ::connectrpc::Encodable<CreateSandboxResponse>
for __buffa::view::CreateSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<CreateSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::CreateSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<DestroySandboxResponse>
for __buffa::view::DestroySandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<DestroySandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::DestroySandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<GetSandboxResponse>
for __buffa::view::GetSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<GetSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::GetSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ListSandboxesResponse>
for __buffa::view::ListSandboxesResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ListSandboxesResponse>
for ::buffa::view::OwnedView<__buffa::view::ListSandboxesResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<PingSandboxResponse>
for __buffa::view::PingSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<PingSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::PingSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<PauseSandboxResponse>
for __buffa::view::PauseSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<PauseSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::PauseSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ResumeSandboxResponse>
for __buffa::view::ResumeSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ResumeSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::ResumeSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ForkSandboxResponse>
for __buffa::view::ForkSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ForkSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::ForkSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<UpdateSandboxResponse>
for __buffa::view::UpdateSandboxResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<UpdateSandboxResponse>
for ::buffa::view::OwnedView<__buffa::view::UpdateSandboxResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ExecResponse> for __buffa::view::ExecResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ExecResponse>
for ::buffa::view::OwnedView<__buffa::view::ExecResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ExecStreamResponse>
for __buffa::view::ExecStreamResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ExecStreamResponse>
for ::buffa::view::OwnedView<__buffa::view::ExecStreamResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<StartBackgroundResponse>
for __buffa::view::StartBackgroundResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<StartBackgroundResponse>
for ::buffa::view::OwnedView<__buffa::view::StartBackgroundResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<SendProcessInputResponse>
for __buffa::view::SendProcessInputResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<SendProcessInputResponse>
for ::buffa::view::OwnedView<__buffa::view::SendProcessInputResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ListProcessesResponse>
for __buffa::view::ListProcessesResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ListProcessesResponse>
for ::buffa::view::OwnedView<__buffa::view::ListProcessesResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<KillProcessResponse>
for __buffa::view::KillProcessResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<KillProcessResponse>
for ::buffa::view::OwnedView<__buffa::view::KillProcessResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ReadFileStreamResponse>
for __buffa::view::ReadFileStreamResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ReadFileStreamResponse>
for ::buffa::view::OwnedView<__buffa::view::ReadFileStreamResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<WriteFileStreamResponse>
for __buffa::view::WriteFileStreamResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<WriteFileStreamResponse>
for ::buffa::view::OwnedView<__buffa::view::WriteFileStreamResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<ListTemplatesResponse>
for __buffa::view::ListTemplatesResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<ListTemplatesResponse>
for ::buffa::view::OwnedView<__buffa::view::ListTemplatesResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<CreateSnapshotResponse>
for __buffa::view::CreateSnapshotResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<CreateSnapshotResponse>
for ::buffa::view::OwnedView<__buffa::view::CreateSnapshotResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<DeleteSnapshotResponse>
for __buffa::view::DeleteSnapshotResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<DeleteSnapshotResponse>
for ::buffa::view::OwnedView<__buffa::view::DeleteSnapshotResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<GetHostInfoResponse>
for __buffa::view::GetHostInfoResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<GetHostInfoResponse>
for ::buffa::view::OwnedView<__buffa::view::GetHostInfoResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<SyncResponse> for __buffa::view::SyncResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<SyncResponse>
for ::buffa::view::OwnedView<__buffa::view::SyncResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
impl ::connectrpc::Encodable<WatchEventsResponse>
for __buffa::view::WatchEventsResponseView<'_> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self, codec)
    }
}
impl ::connectrpc::Encodable<WatchEventsResponse>
for ::buffa::view::OwnedView<__buffa::view::WatchEventsResponseView<'static>> {
    fn encode(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::buffa::bytes::Bytes, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body(self.reborrow(), codec)
    }
    /// An `OwnedView` still holds the buffer it was decoded from, so
    /// its large fields can be handed to the response body by
    /// reference count instead of copied. The bare view impl above
    /// cannot do this: it has borrows but no buffer to name.
    fn encode_segments(
        &self,
        codec: ::connectrpc::CodecFormat,
    ) -> ::std::result::Result<::connectrpc::EncodedBody, ::connectrpc::ConnectError> {
        ::connectrpc::__codegen::encode_view_body_segments(
            self.reborrow(),
            self.bytes(),
            codec,
        )
    }
}
/// Full service name for this service.
pub const HOST_AGENT_SERVICE_NAME: &str = "wrenn.hostagent.v1.HostAgent";
/// Static [`Spec`](::connectrpc::Spec) for the `CreateSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_CREATE_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/CreateSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `DestroySandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_DESTROY_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/DestroySandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `GetSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_GET_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/GetSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ListSandboxes` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_LIST_SANDBOXES_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ListSandboxes",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `PingSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_PING_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/PingSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `PauseSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_PAUSE_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/PauseSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ResumeSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_RESUME_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ResumeSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ForkSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_FORK_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ForkSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `UpdateSandbox` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_UPDATE_SANDBOX_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/UpdateSandbox",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `Exec` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_EXEC_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/Exec",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ExecStream` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_EXEC_STREAM_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ExecStream",
        ::connectrpc::StreamType::ServerStream,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `StartBackground` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_START_BACKGROUND_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/StartBackground",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `SendProcessInput` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_SEND_PROCESS_INPUT_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/SendProcessInput",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ListProcesses` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_LIST_PROCESSES_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ListProcesses",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `KillProcess` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_KILL_PROCESS_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/KillProcess",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ReadFileStream` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_READ_FILE_STREAM_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ReadFileStream",
        ::connectrpc::StreamType::ServerStream,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `WriteFileStream` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_WRITE_FILE_STREAM_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/WriteFileStream",
        ::connectrpc::StreamType::ClientStream,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `ListTemplates` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_LIST_TEMPLATES_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/ListTemplates",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `CreateSnapshot` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_CREATE_SNAPSHOT_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/CreateSnapshot",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `DeleteSnapshot` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_DELETE_SNAPSHOT_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/DeleteSnapshot",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `GetHostInfo` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_GET_HOST_INFO_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/GetHostInfo",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `Sync` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_SYNC_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/Sync",
        ::connectrpc::StreamType::Unary,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Static [`Spec`](::connectrpc::Spec) for the `WatchEvents` RPC, as seen by the server; the generated client passes it with [`origin`](::connectrpc::Spec::origin) `Client` (compare across sides with [`Spec::same_method`](::connectrpc::Spec::same_method)).
pub const HOST_AGENT_WATCH_EVENTS_SPEC: ::connectrpc::Spec = ::connectrpc::Spec::server(
        "/wrenn.hostagent.v1.HostAgent/WatchEvents",
        ::connectrpc::StreamType::ServerStream,
    )
    .with_idempotency_level(::connectrpc::IdempotencyLevel::Unknown);
/// Server trait for HostAgent.
///
/// # Implementing handlers
///
/// Implement methods with plain `async fn`; the returned future satisfies
/// the `Send` bound automatically.
///
/// **Unary and server-streaming requests** arrive as
/// [`ServiceRequest<'_, Req>`](::connectrpc::ServiceRequest): a zero-copy
/// view of the request plus its body, valid for the duration of the call.
/// Fields are read directly (`request.name` is a `&str` into the decoded
/// buffer) and the borrow may be held across `.await` points. Anything
/// that must outlive the call — `tokio::spawn`, channels, server state,
/// or data captured by a returned response stream — takes owned data:
/// call `request.to_owned_message()` (or copy the specific fields)
/// first.
///
/// **Client-streaming and bidi requests** arrive as
/// [`InboundStream<Req>`](::connectrpc::InboundStream) — a
/// `ServiceStream` of [`StreamMessage`](::connectrpc::StreamMessage)s.
/// Each item owns its decoded buffer and is `Send + 'static`, so items
/// can be buffered or moved into spawned tasks; read fields zero-copy
/// through the generated accessor methods (`item.name()`) or `.view()`,
/// convert with `.to_owned_message()`, or yield an item back unchanged —
/// `StreamMessage<M>` implements `Encodable<M>`.
///
/// Request types resolved through `extern_path` (e.g. well-known types
/// from another crate) use the same wrappers; the crate that owns the
/// type must be generated with buffa ≥ 0.9.0 and views enabled so the
/// backing `HasMessageView` impl exists.
///
/// The `impl Encodable<Out>` return bound accepts the owned `Out`, the
/// generated `OutView<'_>` / `OwnedOutView`,
/// [`MaybeBorrowed`](::connectrpc::MaybeBorrowed), or
/// [`PreEncoded`](::connectrpc::PreEncoded) for handlers that encode a
/// non-`'static` view internally and pass the bytes across the handler
/// boundary. View bodies are not emitted for output types mapped via
/// `extern_path` (the impl would be an orphan); return owned for
/// WKT/extern outputs.
///
/// Server-streaming and bidi-streaming methods return
/// `ServiceStream<impl Encodable<Out> + Send + use<Self>>`. The
/// `use<Self>` precise-capturing clause excludes `&self`'s lifetime and
/// the request's lifetime (unary methods use `use<'a, Self>` and may
/// borrow from `&self`), so stream items must be `'static` and cannot
/// borrow from the request. To stream view-encoded data, encode each
/// item inside the stream body and yield
/// [`PreEncoded`](::connectrpc::PreEncoded) — see its `# Streaming
/// example` doc.
#[allow(clippy::type_complexity)]
pub trait HostAgent: Send + Sync + 'static {
    /// Sandboxes. Every mutation carries an Operation; repeating one returns the first result.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn create_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, CreateSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<CreateSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the DestroySandbox RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn destroy_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, DestroySandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<DestroySandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the GetSandbox RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn get_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, GetSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<GetSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the ListSandboxes RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn list_sandboxes<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ListSandboxesRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ListSandboxesResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the PingSandbox RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn ping_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, PingSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<PingSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Answers when the snapshot is durable; pausing what is paused answers with it.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn pause_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, PauseSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<PauseSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Answers when the guest is usable; resuming what runs answers with it. Failed, it is still paused.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn resume_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ResumeSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ResumeSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Many from one, all or none; the source ends in the state that it had.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn fork_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ForkSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ForkSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Changes what may change while it lives.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn update_sandbox<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, UpdateSandboxRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<UpdateSandboxResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Processes.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn exec<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ExecRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ExecResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Ends the process group (TERM, 2 s, KILL) when the caller goes away.
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call (until the response stream is returned);
    /// message fields are read directly on it (zero-copy). Data the
    /// returned stream needs must be copied out or converted via
    /// `.to_owned_message()`.
    fn exec_stream(
        &self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ExecStreamRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            ::connectrpc::ServiceStream<
                impl ::connectrpc::Encodable<ExecStreamResponse> + Send + use<Self>,
            >,
        >,
    > + Send;
    /// Answers as soon as the program runs; nobody's leaving ends it.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn start_background<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, StartBackgroundRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<StartBackgroundResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the SendProcessInput RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn send_process_input<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, SendProcessInputRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<SendProcessInputResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the ListProcesses RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn list_processes<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ListProcessesRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ListProcessesResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Handle the KillProcess RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn kill_process<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, KillProcessRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<KillProcessResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Files.
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call (until the response stream is returned);
    /// message fields are read directly on it (zero-copy). Data the
    /// returned stream needs must be copied out or converted via
    /// `.to_owned_message()`.
    fn read_file_stream(
        &self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ReadFileStreamRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            ::connectrpc::ServiceStream<
                impl ::connectrpc::Encodable<ReadFileStreamResponse> + Send + use<Self>,
            >,
        >,
    > + Send;
    /// Handle the WriteFileStream RPC.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// Each `requests` item is a [`StreamMessage`](::connectrpc::StreamMessage):
    /// it owns its buffer, is `Send + 'static`, and exposes zero-copy
    /// accessor methods (`item.name()`), `.view()`, and
    /// `.to_owned_message()`.
    fn write_file_stream<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        requests: ::connectrpc::InboundStream<WriteFileStreamRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<WriteFileStreamResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Templates on this host.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn list_templates<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, ListTemplatesRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<ListTemplatesResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// A template from a sandbox, with its memory; the source ends in the state that it had.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn create_snapshot<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, CreateSnapshotRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<CreateSnapshotResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Of a snapshot template; one that is not here is success.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn delete_snapshot<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, DeleteSnapshotRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<DeleteSnapshotResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Host.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn get_host_info<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, GetHostInfoRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<GetHostInfoResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// Complete state plus the events not yet acknowledged. Reading never consumes.
    ///
    /// `'a` lets the response body borrow from `&self` (e.g. server-resident state).
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call; message fields are read directly on it
    /// (zero-copy). The response cannot borrow from `request` — use
    /// `.to_owned_message()` (or copy the specific fields) for anything
    /// returned, stored, or moved into `tokio::spawn`.
    fn sync<'a>(
        &'a self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, SyncRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            impl ::connectrpc::Encodable<SyncResponse> + Send + use<'a, Self>,
        >,
    > + Send;
    /// The same events as Sync, as they happen; resumable from a sequence number.
    ///
    /// `request` is borrowed from the request body and is valid for the
    /// duration of the call (until the response stream is returned);
    /// message fields are read directly on it (zero-copy). Data the
    /// returned stream needs must be copied out or converted via
    /// `.to_owned_message()`.
    fn watch_events(
        &self,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::ServiceRequest<'_, WatchEventsRequest>,
    ) -> impl ::std::future::Future<
        Output = ::connectrpc::ServiceResult<
            ::connectrpc::ServiceStream<
                impl ::connectrpc::Encodable<WatchEventsResponse> + Send + use<Self>,
            >,
        >,
    > + Send;
}
/// Extension trait for registering a service implementation with a Router.
///
/// This trait is automatically implemented for all types that implement the service trait.
/// Prefer [`Router::add_service`](::connectrpc::Router::add_service) for
/// top-down registration; `register` remains available for compatibility
/// and cases where the service-first call shape is more convenient.
///
/// # Example
///
/// ```rust,ignore
/// use std::sync::Arc;
///
/// let service = Arc::new(MyServiceImpl);
/// let router = service.register(Router::new());
/// ```
pub trait HostAgentExt: HostAgent {
    /// Register this service implementation with a Router.
    ///
    /// Takes ownership of the `Arc<Self>` and returns a new Router with
    /// this service's methods registered.
    fn register(
        self: ::std::sync::Arc<Self>,
        router: ::connectrpc::Router,
    ) -> ::connectrpc::Router;
}
impl<S: HostAgent> HostAgentExt for S {
    fn register(
        self: ::std::sync::Arc<Self>,
        router: ::connectrpc::Router,
    ) -> ::connectrpc::Router {
        router
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "CreateSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::CreateSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                CreateSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.create_sandbox(ctx, sreq)
                                .await?
                                .encode::<CreateSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_CREATE_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "DestroySandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::DestroySandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                DestroySandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.destroy_sandbox(ctx, sreq)
                                .await?
                                .encode::<DestroySandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_DESTROY_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "GetSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::GetSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                GetSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.get_sandbox(ctx, sreq)
                                .await?
                                .encode::<GetSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_GET_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "ListSandboxes",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ListSandboxesRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ListSandboxesRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.list_sandboxes(ctx, sreq)
                                .await?
                                .encode::<ListSandboxesResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_LIST_SANDBOXES_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "PingSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::PingSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                PingSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.ping_sandbox(ctx, sreq)
                                .await?
                                .encode::<PingSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_PING_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "PauseSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::PauseSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                PauseSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.pause_sandbox(ctx, sreq)
                                .await?
                                .encode::<PauseSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_PAUSE_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "ResumeSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ResumeSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ResumeSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.resume_sandbox(ctx, sreq)
                                .await?
                                .encode::<ResumeSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_RESUME_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "ForkSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ForkSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ForkSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.fork_sandbox(ctx, sreq)
                                .await?
                                .encode::<ForkSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_FORK_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "UpdateSandbox",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::UpdateSandboxRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                UpdateSandboxRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.update_sandbox(ctx, sreq)
                                .await?
                                .encode::<UpdateSandboxResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_UPDATE_SANDBOX_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "Exec",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ExecRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ExecRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.exec(ctx, sreq).await?.encode::<ExecResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_EXEC_SPEC)
            .route_view_server_stream::<
                _,
                _,
                ExecStreamResponse,
            >(
                HOST_AGENT_SERVICE_NAME,
                "ExecStream",
                ::connectrpc::view_streaming_handler_fn({
                    let svc = ::std::sync::Arc::clone(&self);
                    move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ExecStreamRequestView<'static>,
                        >|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ExecStreamRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.exec_stream(ctx, sreq).await
                        }
                    }
                }),
            )
            .with_spec(HOST_AGENT_EXEC_STREAM_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "StartBackground",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::StartBackgroundRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                StartBackgroundRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.start_background(ctx, sreq)
                                .await?
                                .encode::<StartBackgroundResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_START_BACKGROUND_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "SendProcessInput",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::SendProcessInputRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                SendProcessInputRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.send_process_input(ctx, sreq)
                                .await?
                                .encode::<SendProcessInputResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_SEND_PROCESS_INPUT_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "ListProcesses",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ListProcessesRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ListProcessesRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.list_processes(ctx, sreq)
                                .await?
                                .encode::<ListProcessesResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_LIST_PROCESSES_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "KillProcess",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::KillProcessRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                KillProcessRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.kill_process(ctx, sreq)
                                .await?
                                .encode::<KillProcessResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_KILL_PROCESS_SPEC)
            .route_view_server_stream::<
                _,
                _,
                ReadFileStreamResponse,
            >(
                HOST_AGENT_SERVICE_NAME,
                "ReadFileStream",
                ::connectrpc::view_streaming_handler_fn({
                    let svc = ::std::sync::Arc::clone(&self);
                    move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ReadFileStreamRequestView<'static>,
                        >|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ReadFileStreamRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.read_file_stream(ctx, sreq).await
                        }
                    }
                }),
            )
            .with_spec(HOST_AGENT_READ_FILE_STREAM_SPEC)
            .route_view_client_stream(
                HOST_AGENT_SERVICE_NAME,
                "WriteFileStream",
                ::connectrpc::view_client_streaming_handler_fn({
                    let svc = ::std::sync::Arc::clone(&self);
                    move |ctx, req, format| {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let req = ::connectrpc::dispatcher::codegen::into_stream_messages::<
                                WriteFileStreamRequest,
                            >(req);
                            svc.write_file_stream(ctx, req)
                                .await?
                                .encode::<WriteFileStreamResponse>(format)
                        }
                    }
                }),
            )
            .with_spec(HOST_AGENT_WRITE_FILE_STREAM_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "ListTemplates",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::ListTemplatesRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                ListTemplatesRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.list_templates(ctx, sreq)
                                .await?
                                .encode::<ListTemplatesResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_LIST_TEMPLATES_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "CreateSnapshot",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::CreateSnapshotRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                CreateSnapshotRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.create_snapshot(ctx, sreq)
                                .await?
                                .encode::<CreateSnapshotResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_CREATE_SNAPSHOT_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "DeleteSnapshot",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::DeleteSnapshotRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                DeleteSnapshotRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.delete_snapshot(ctx, sreq)
                                .await?
                                .encode::<DeleteSnapshotResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_DELETE_SNAPSHOT_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "GetHostInfo",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::GetHostInfoRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                GetHostInfoRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.get_host_info(ctx, sreq)
                                .await?
                                .encode::<GetHostInfoResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_GET_HOST_INFO_SPEC)
            .route_view(
                HOST_AGENT_SERVICE_NAME,
                "Sync",
                {
                    let svc = ::std::sync::Arc::clone(&self);
                    ::connectrpc::view_handler_fn(move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::SyncRequestView<'static>,
                        >,
                        format|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                SyncRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.sync(ctx, sreq).await?.encode::<SyncResponse>(format)
                        }
                    })
                },
            )
            .with_spec(HOST_AGENT_SYNC_SPEC)
            .route_view_server_stream::<
                _,
                _,
                WatchEventsResponse,
            >(
                HOST_AGENT_SERVICE_NAME,
                "WatchEvents",
                ::connectrpc::view_streaming_handler_fn({
                    let svc = ::std::sync::Arc::clone(&self);
                    move |
                        ctx,
                        req: ::buffa::view::OwnedView<
                            __buffa::view::WatchEventsRequestView<'static>,
                        >|
                    {
                        let svc = ::std::sync::Arc::clone(&svc);
                        async move {
                            let sreq = ::connectrpc::ServiceRequest::<
                                WatchEventsRequest,
                            >::from_parts(req.reborrow(), req.bytes());
                            svc.watch_events(ctx, sreq).await
                        }
                    }
                }),
            )
            .with_spec(HOST_AGENT_WATCH_EVENTS_SPEC)
    }
}
/// Type-inference marker used by [`Router::add_service`](::connectrpc::Router::add_service).
#[doc(hidden)]
pub struct HostAgentRegisterMarker;
impl<S: HostAgent> ::connectrpc::ServiceRegister<HostAgentRegisterMarker>
for ::std::sync::Arc<S> {
    fn register_service(self, router: ::connectrpc::Router) -> ::connectrpc::Router {
        <S as HostAgentExt>::register(self, router)
    }
}
/// Monomorphic dispatcher for `HostAgent`.
///
/// Unlike `.register(Router)` which type-erases each method into an `Arc<dyn ErasedHandler>` stored in a `HashMap`, this struct dispatches via a compile-time `match` on method name: no vtable, no hash lookup.
///
/// # Example
///
/// ```rust,ignore
/// use connectrpc::ConnectRpcService;
///
/// let server = HostAgentServer::new(MyImpl);
/// let service = ConnectRpcService::new(server);
/// // hand `service` to axum/hyper as a fallback_service
/// ```
pub struct HostAgentServer<T> {
    inner: ::std::sync::Arc<T>,
}
impl<T: HostAgent> HostAgentServer<T> {
    /// Wrap a service implementation in a monomorphic dispatcher.
    pub fn new(service: T) -> Self {
        Self {
            inner: ::std::sync::Arc::new(service),
        }
    }
    /// Wrap an already-`Arc`'d service implementation.
    pub fn from_arc(inner: ::std::sync::Arc<T>) -> Self {
        Self { inner }
    }
}
impl<T> Clone for HostAgentServer<T> {
    fn clone(&self) -> Self {
        Self {
            inner: ::std::sync::Arc::clone(&self.inner),
        }
    }
}
impl<T: HostAgent> ::connectrpc::Dispatcher for HostAgentServer<T> {
    #[inline]
    fn lookup(
        &self,
        path: &str,
    ) -> Option<::connectrpc::dispatcher::codegen::MethodDescriptor> {
        let method = path.strip_prefix("wrenn.hostagent.v1.HostAgent/")?;
        match method {
            "CreateSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_CREATE_SANDBOX_SPEC),
                )
            }
            "DestroySandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_DESTROY_SANDBOX_SPEC),
                )
            }
            "GetSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_GET_SANDBOX_SPEC),
                )
            }
            "ListSandboxes" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_LIST_SANDBOXES_SPEC),
                )
            }
            "PingSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_PING_SANDBOX_SPEC),
                )
            }
            "PauseSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_PAUSE_SANDBOX_SPEC),
                )
            }
            "ResumeSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_RESUME_SANDBOX_SPEC),
                )
            }
            "ForkSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_FORK_SANDBOX_SPEC),
                )
            }
            "UpdateSandbox" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_UPDATE_SANDBOX_SPEC),
                )
            }
            "Exec" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_EXEC_SPEC),
                )
            }
            "ExecStream" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::server_streaming()
                        .with_spec(HOST_AGENT_EXEC_STREAM_SPEC),
                )
            }
            "StartBackground" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_START_BACKGROUND_SPEC),
                )
            }
            "SendProcessInput" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_SEND_PROCESS_INPUT_SPEC),
                )
            }
            "ListProcesses" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_LIST_PROCESSES_SPEC),
                )
            }
            "KillProcess" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_KILL_PROCESS_SPEC),
                )
            }
            "ReadFileStream" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::server_streaming()
                        .with_spec(HOST_AGENT_READ_FILE_STREAM_SPEC),
                )
            }
            "WriteFileStream" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::client_streaming()
                        .with_spec(HOST_AGENT_WRITE_FILE_STREAM_SPEC),
                )
            }
            "ListTemplates" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_LIST_TEMPLATES_SPEC),
                )
            }
            "CreateSnapshot" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_CREATE_SNAPSHOT_SPEC),
                )
            }
            "DeleteSnapshot" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_DELETE_SNAPSHOT_SPEC),
                )
            }
            "GetHostInfo" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_GET_HOST_INFO_SPEC),
                )
            }
            "Sync" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::unary(false)
                        .with_spec(HOST_AGENT_SYNC_SPEC),
                )
            }
            "WatchEvents" => {
                Some(
                    ::connectrpc::dispatcher::codegen::MethodDescriptor::server_streaming()
                        .with_spec(HOST_AGENT_WATCH_EVENTS_SPEC),
                )
            }
            _ => None,
        }
    }
    fn call_unary(
        &self,
        path: &str,
        ctx: ::connectrpc::RequestContext,
        request: ::connectrpc::Payload,
        format: ::connectrpc::CodecFormat,
    ) -> ::connectrpc::dispatcher::codegen::UnaryResult {
        let Some(method) = path.strip_prefix("wrenn.hostagent.v1.HostAgent/") else {
            return ::connectrpc::dispatcher::codegen::unimplemented_unary(path);
        };
        let _ = (&ctx, &request, &format);
        match method {
            "CreateSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        CreateSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::CreateSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        CreateSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.create_sandbox(ctx, req)
                        .await?
                        .encode::<CreateSandboxResponse>(format)
                })
            }
            "DestroySandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        DestroySandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::DestroySandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        DestroySandboxRequest,
                    >::from_parts(&req, &body);
                    svc.destroy_sandbox(ctx, req)
                        .await?
                        .encode::<DestroySandboxResponse>(format)
                })
            }
            "GetSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        GetSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::GetSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        GetSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.get_sandbox(ctx, req).await?.encode::<GetSandboxResponse>(format)
                })
            }
            "ListSandboxes" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ListSandboxesRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ListSandboxesRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ListSandboxesRequest,
                    >::from_parts(&req, &body);
                    svc.list_sandboxes(ctx, req)
                        .await?
                        .encode::<ListSandboxesResponse>(format)
                })
            }
            "PingSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        PingSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::PingSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        PingSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.ping_sandbox(ctx, req)
                        .await?
                        .encode::<PingSandboxResponse>(format)
                })
            }
            "PauseSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        PauseSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::PauseSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        PauseSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.pause_sandbox(ctx, req)
                        .await?
                        .encode::<PauseSandboxResponse>(format)
                })
            }
            "ResumeSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ResumeSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ResumeSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ResumeSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.resume_sandbox(ctx, req)
                        .await?
                        .encode::<ResumeSandboxResponse>(format)
                })
            }
            "ForkSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ForkSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ForkSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ForkSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.fork_sandbox(ctx, req)
                        .await?
                        .encode::<ForkSandboxResponse>(format)
                })
            }
            "UpdateSandbox" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        UpdateSandboxRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::UpdateSandboxRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        UpdateSandboxRequest,
                    >::from_parts(&req, &body);
                    svc.update_sandbox(ctx, req)
                        .await?
                        .encode::<UpdateSandboxResponse>(format)
                })
            }
            "Exec" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ExecRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ExecRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ExecRequest,
                    >::from_parts(&req, &body);
                    svc.exec(ctx, req).await?.encode::<ExecResponse>(format)
                })
            }
            "StartBackground" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        StartBackgroundRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::StartBackgroundRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        StartBackgroundRequest,
                    >::from_parts(&req, &body);
                    svc.start_background(ctx, req)
                        .await?
                        .encode::<StartBackgroundResponse>(format)
                })
            }
            "SendProcessInput" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        SendProcessInputRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::SendProcessInputRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        SendProcessInputRequest,
                    >::from_parts(&req, &body);
                    svc.send_process_input(ctx, req)
                        .await?
                        .encode::<SendProcessInputResponse>(format)
                })
            }
            "ListProcesses" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ListProcessesRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ListProcessesRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ListProcessesRequest,
                    >::from_parts(&req, &body);
                    svc.list_processes(ctx, req)
                        .await?
                        .encode::<ListProcessesResponse>(format)
                })
            }
            "KillProcess" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        KillProcessRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::KillProcessRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        KillProcessRequest,
                    >::from_parts(&req, &body);
                    svc.kill_process(ctx, req)
                        .await?
                        .encode::<KillProcessResponse>(format)
                })
            }
            "ListTemplates" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ListTemplatesRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::ListTemplatesRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ListTemplatesRequest,
                    >::from_parts(&req, &body);
                    svc.list_templates(ctx, req)
                        .await?
                        .encode::<ListTemplatesResponse>(format)
                })
            }
            "CreateSnapshot" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        CreateSnapshotRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::CreateSnapshotRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        CreateSnapshotRequest,
                    >::from_parts(&req, &body);
                    svc.create_snapshot(ctx, req)
                        .await?
                        .encode::<CreateSnapshotResponse>(format)
                })
            }
            "DeleteSnapshot" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        DeleteSnapshotRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::DeleteSnapshotRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        DeleteSnapshotRequest,
                    >::from_parts(&req, &body);
                    svc.delete_snapshot(ctx, req)
                        .await?
                        .encode::<DeleteSnapshotResponse>(format)
                })
            }
            "GetHostInfo" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        GetHostInfoRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::GetHostInfoRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        GetHostInfoRequest,
                    >::from_parts(&req, &body);
                    svc.get_host_info(ctx, req)
                        .await?
                        .encode::<GetHostInfoResponse>(format)
                })
            }
            "Sync" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        SyncRequest,
                    >(request.encoded()?, format)?;
                    let req: __buffa::view::SyncRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        SyncRequest,
                    >::from_parts(&req, &body);
                    svc.sync(ctx, req).await?.encode::<SyncResponse>(format)
                })
            }
            _ => ::connectrpc::dispatcher::codegen::unimplemented_unary(path),
        }
    }
    fn call_server_streaming(
        &self,
        path: &str,
        ctx: ::connectrpc::RequestContext,
        request: ::buffa::bytes::Bytes,
        format: ::connectrpc::CodecFormat,
    ) -> ::connectrpc::dispatcher::codegen::StreamingResult {
        let Some(method) = path.strip_prefix("wrenn.hostagent.v1.HostAgent/") else {
            return ::connectrpc::dispatcher::codegen::unimplemented_streaming(path);
        };
        let _ = (&ctx, &request, &format);
        match method {
            "ExecStream" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ExecStreamRequest,
                    >(request, format)?;
                    let req: __buffa::view::ExecStreamRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ExecStreamRequest,
                    >::from_parts(&req, &body);
                    let resp = svc.exec_stream(ctx, req).await?;
                    Ok(
                        resp
                            .map_body(|s| ::connectrpc::dispatcher::codegen::encode_response_stream::<
                                ExecStreamResponse,
                                _,
                                _,
                            >(s, format)),
                    )
                })
            }
            "ReadFileStream" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        ReadFileStreamRequest,
                    >(request, format)?;
                    let req: __buffa::view::ReadFileStreamRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        ReadFileStreamRequest,
                    >::from_parts(&req, &body);
                    let resp = svc.read_file_stream(ctx, req).await?;
                    Ok(
                        resp
                            .map_body(|s| ::connectrpc::dispatcher::codegen::encode_response_stream::<
                                ReadFileStreamResponse,
                                _,
                                _,
                            >(s, format)),
                    )
                })
            }
            "WatchEvents" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let body = ::connectrpc::dispatcher::codegen::request_proto_bytes::<
                        WatchEventsRequest,
                    >(request, format)?;
                    let req: __buffa::view::WatchEventsRequestView<'_> = ::connectrpc::dispatcher::codegen::decode_borrowed_request_view(
                        &body,
                        ctx.decode_options(),
                    )?;
                    let req = ::connectrpc::ServiceRequest::<
                        WatchEventsRequest,
                    >::from_parts(&req, &body);
                    let resp = svc.watch_events(ctx, req).await?;
                    Ok(
                        resp
                            .map_body(|s| ::connectrpc::dispatcher::codegen::encode_response_stream::<
                                WatchEventsResponse,
                                _,
                                _,
                            >(s, format)),
                    )
                })
            }
            _ => ::connectrpc::dispatcher::codegen::unimplemented_streaming(path),
        }
    }
    fn call_client_streaming(
        &self,
        path: &str,
        ctx: ::connectrpc::RequestContext,
        requests: ::connectrpc::dispatcher::codegen::RequestStream,
        format: ::connectrpc::CodecFormat,
    ) -> ::connectrpc::dispatcher::codegen::UnaryResult {
        let Some(method) = path.strip_prefix("wrenn.hostagent.v1.HostAgent/") else {
            return ::connectrpc::dispatcher::codegen::unimplemented_unary(path);
        };
        let _ = (&ctx, &requests, &format);
        match method {
            "WriteFileStream" => {
                let svc = ::std::sync::Arc::clone(&self.inner);
                Box::pin(async move {
                    let req_stream = ::connectrpc::dispatcher::codegen::decode_message_request_stream::<
                        WriteFileStreamRequest,
                    >(requests, format, ctx.decode_options().clone());
                    svc.write_file_stream(ctx, req_stream)
                        .await?
                        .encode::<WriteFileStreamResponse>(format)
                })
            }
            _ => ::connectrpc::dispatcher::codegen::unimplemented_unary(path),
        }
    }
    fn call_bidi_streaming(
        &self,
        path: &str,
        ctx: ::connectrpc::RequestContext,
        requests: ::connectrpc::dispatcher::codegen::RequestStream,
        format: ::connectrpc::CodecFormat,
    ) -> ::connectrpc::dispatcher::codegen::StreamingResult {
        let Some(method) = path.strip_prefix("wrenn.hostagent.v1.HostAgent/") else {
            return ::connectrpc::dispatcher::codegen::unimplemented_streaming(path);
        };
        let _ = (&ctx, &requests, &format);
        match method {
            _ => ::connectrpc::dispatcher::codegen::unimplemented_streaming(path),
        }
    }
}
/// Client for this service.
///
/// Generic over `T: ClientTransport`. For **gRPC** (HTTP/2), use
/// `Http2Connection` — it has honest `poll_ready` and composes with
/// `tower::balance` for multi-connection load balancing. For **Connect
/// over HTTP/1.1** (or unknown protocol), use `HttpClient`.
///
/// # Example (gRPC / HTTP/2)
///
/// ```rust,ignore
/// use connectrpc::client::{Http2Connection, ClientConfig};
/// use connectrpc::Protocol;
///
/// let uri: http::Uri = "http://localhost:8080".parse()?;
/// let conn = Http2Connection::connect_plaintext(uri.clone()).await?.shared(1024);
/// let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc);
///
/// let client = HostAgentClient::new(conn, config);
/// let response = client.create_sandbox(request).await?;
/// ```
///
/// # Example (Connect / HTTP/1.1 or ALPN)
///
/// ```rust,ignore
/// use connectrpc::client::{HttpClient, ClientConfig};
///
/// let http = HttpClient::plaintext();  // cleartext http:// only
/// let config = ClientConfig::new("http://localhost:8080".parse()?);
///
/// let client = HostAgentClient::new(http, config);
/// let response = client.create_sandbox(request).await?;
/// ```
///
/// # Working with the response
///
/// Unary calls return [`UnaryResponse<OwnedView<FooView>>`](::connectrpc::client::UnaryResponse).
/// [`view()`](::connectrpc::client::UnaryResponse::view) borrows the response
/// message, so field access is zero-copy:
///
/// ```rust,ignore
/// let resp = client.create_sandbox(request).await?;
/// let name: &str = resp.view().name;  // borrow into the response buffer
/// ```
///
/// If you need the owned struct (e.g. to store or pass by value), use
/// [`into_owned()`](::connectrpc::client::UnaryResponse::into_owned):
///
/// ```rust,ignore
/// let owned = client.create_sandbox(request).await?.into_owned();
/// ```
///
/// [`into_view()`](::connectrpc::client::UnaryResponse::into_view) keeps the
/// zero-copy decoded body (an `OwnedView`) without copying; field access on it
/// goes through `.reborrow()`. Streaming responses yield one
/// [`StreamMessage`](::connectrpc::StreamMessage) per received message from
/// `.message().await` — read fields zero-copy through the generated accessor
/// methods (`msg.name()`) or `.view()`, or convert with `.to_owned_message()`.
#[cfg(feature = "client")]
#[derive(Clone)]
pub struct HostAgentClient<T> {
    transport: T,
    config: ::connectrpc::client::ClientConfig,
}
#[cfg(feature = "client")]
impl<T> HostAgentClient<T>
where
    T: ::connectrpc::client::ClientTransport,
    <T::ResponseBody as ::connectrpc::http_body::Body>::Error: ::std::fmt::Display,
{
    /// Create a new client with the given transport and configuration.
    pub fn new(transport: T, config: ::connectrpc::client::ClientConfig) -> Self {
        Self { transport, config }
    }
    /// Get the client configuration.
    pub fn config(&self) -> &::connectrpc::client::ClientConfig {
        &self.config
    }
    /// Get a mutable reference to the client configuration.
    pub fn config_mut(&mut self) -> &mut ::connectrpc::client::ClientConfig {
        &mut self.config
    }
    /// Call the CreateSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/CreateSandbox.
    pub async fn create_sandbox(
        &self,
        request: CreateSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::CreateSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.create_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the CreateSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn create_sandbox_with_options(
        &self,
        request: CreateSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::CreateSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_CREATE_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the DestroySandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/DestroySandbox.
    pub async fn destroy_sandbox(
        &self,
        request: DestroySandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::DestroySandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.destroy_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the DestroySandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn destroy_sandbox_with_options(
        &self,
        request: DestroySandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::DestroySandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_DESTROY_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the GetSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/GetSandbox.
    pub async fn get_sandbox(
        &self,
        request: GetSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::GetSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.get_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the GetSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn get_sandbox_with_options(
        &self,
        request: GetSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::GetSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_GET_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ListSandboxes RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ListSandboxes.
    pub async fn list_sandboxes(
        &self,
        request: ListSandboxesRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListSandboxesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.list_sandboxes_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ListSandboxes RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn list_sandboxes_with_options(
        &self,
        request: ListSandboxesRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListSandboxesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_LIST_SANDBOXES_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the PingSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/PingSandbox.
    pub async fn ping_sandbox(
        &self,
        request: PingSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::PingSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.ping_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the PingSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn ping_sandbox_with_options(
        &self,
        request: PingSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::PingSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_PING_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the PauseSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/PauseSandbox.
    pub async fn pause_sandbox(
        &self,
        request: PauseSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::PauseSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.pause_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the PauseSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn pause_sandbox_with_options(
        &self,
        request: PauseSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::PauseSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_PAUSE_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ResumeSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ResumeSandbox.
    pub async fn resume_sandbox(
        &self,
        request: ResumeSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ResumeSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.resume_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ResumeSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn resume_sandbox_with_options(
        &self,
        request: ResumeSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ResumeSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_RESUME_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ForkSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ForkSandbox.
    pub async fn fork_sandbox(
        &self,
        request: ForkSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ForkSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.fork_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ForkSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn fork_sandbox_with_options(
        &self,
        request: ForkSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ForkSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_FORK_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the UpdateSandbox RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/UpdateSandbox.
    pub async fn update_sandbox(
        &self,
        request: UpdateSandboxRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::UpdateSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.update_sandbox_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the UpdateSandbox RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn update_sandbox_with_options(
        &self,
        request: UpdateSandboxRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::UpdateSandboxResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_UPDATE_SANDBOX_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the Exec RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/Exec.
    pub async fn exec(
        &self,
        request: ExecRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ExecResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.exec_with_options(request, ::connectrpc::client::CallOptions::default())
            .await
    }
    /// Call the Exec RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn exec_with_options(
        &self,
        request: ExecRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ExecResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_EXEC_SPEC.with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ExecStream RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ExecStream.
    pub async fn exec_stream(
        &self,
        request: ExecStreamRequest,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::ExecStreamResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.exec_stream_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ExecStream RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn exec_stream_with_options(
        &self,
        request: ExecStreamRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::ExecStreamResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_server_stream(
                &self.transport,
                &self.config,
                HOST_AGENT_EXEC_STREAM_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the StartBackground RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/StartBackground.
    pub async fn start_background(
        &self,
        request: StartBackgroundRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::StartBackgroundResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.start_background_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the StartBackground RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn start_background_with_options(
        &self,
        request: StartBackgroundRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::StartBackgroundResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_START_BACKGROUND_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the SendProcessInput RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/SendProcessInput.
    pub async fn send_process_input(
        &self,
        request: SendProcessInputRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<
                __buffa::view::SendProcessInputResponseView<'static>,
            >,
        >,
        ::connectrpc::ConnectError,
    > {
        self.send_process_input_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the SendProcessInput RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn send_process_input_with_options(
        &self,
        request: SendProcessInputRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<
                __buffa::view::SendProcessInputResponseView<'static>,
            >,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_SEND_PROCESS_INPUT_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ListProcesses RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ListProcesses.
    pub async fn list_processes(
        &self,
        request: ListProcessesRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListProcessesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.list_processes_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ListProcesses RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn list_processes_with_options(
        &self,
        request: ListProcessesRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListProcessesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_LIST_PROCESSES_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the KillProcess RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/KillProcess.
    pub async fn kill_process(
        &self,
        request: KillProcessRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::KillProcessResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.kill_process_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the KillProcess RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn kill_process_with_options(
        &self,
        request: KillProcessRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::KillProcessResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_KILL_PROCESS_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the ReadFileStream RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ReadFileStream.
    pub async fn read_file_stream(
        &self,
        request: ReadFileStreamRequest,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::ReadFileStreamResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.read_file_stream_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ReadFileStream RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn read_file_stream_with_options(
        &self,
        request: ReadFileStreamRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::ReadFileStreamResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_server_stream(
                &self.transport,
                &self.config,
                HOST_AGENT_READ_FILE_STREAM_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the WriteFileStream RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/WriteFileStream.
    ///
    /// `requests` is any `Stream<Item = ...> + Send + 'static` of
    /// request messages (the `ClientRequestStream` bound); messages
    /// are sent as the stream yields them. It backs the request
    /// body, so yield owned messages or feed the call from a
    /// channel-backed stream. For a collection that is already in
    /// hand, wrap it with `::connectrpc::stream_iter(...)`.
    ///
    /// Dropping the returned future cancels the call: the request
    /// body is dropped along with it, so messages the stream had
    /// not yet yielded are never delivered. A caller that needs the
    /// request delivered must drive the call to completion rather
    /// than, say, wrapping it in a `timeout`.
    pub async fn write_file_stream(
        &self,
        requests: impl ::connectrpc::client::ClientRequestStream<WriteFileStreamRequest>,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::WriteFileStreamResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.write_file_stream_with_options(
                requests,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the WriteFileStream RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    ///
    /// `requests` is any `Stream<Item = ...> + Send + 'static` of
    /// request messages (the `ClientRequestStream` bound); messages
    /// are sent as the stream yields them. It backs the request
    /// body, so yield owned messages or feed the call from a
    /// channel-backed stream. For a collection that is already in
    /// hand, wrap it with `::connectrpc::stream_iter(...)`.
    ///
    /// Dropping the returned future cancels the call: the request
    /// body is dropped along with it, so messages the stream had
    /// not yet yielded are never delivered. A caller that needs the
    /// request delivered must drive the call to completion rather
    /// than, say, wrapping it in a `timeout`.
    pub async fn write_file_stream_with_options(
        &self,
        requests: impl ::connectrpc::client::ClientRequestStream<WriteFileStreamRequest>,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::WriteFileStreamResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_client_stream(
                &self.transport,
                &self.config,
                HOST_AGENT_WRITE_FILE_STREAM_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                requests,
                options,
            )
            .await
    }
    /// Call the ListTemplates RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/ListTemplates.
    pub async fn list_templates(
        &self,
        request: ListTemplatesRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListTemplatesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.list_templates_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the ListTemplates RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn list_templates_with_options(
        &self,
        request: ListTemplatesRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::ListTemplatesResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_LIST_TEMPLATES_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the CreateSnapshot RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/CreateSnapshot.
    pub async fn create_snapshot(
        &self,
        request: CreateSnapshotRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::CreateSnapshotResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.create_snapshot_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the CreateSnapshot RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn create_snapshot_with_options(
        &self,
        request: CreateSnapshotRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::CreateSnapshotResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_CREATE_SNAPSHOT_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the DeleteSnapshot RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/DeleteSnapshot.
    pub async fn delete_snapshot(
        &self,
        request: DeleteSnapshotRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::DeleteSnapshotResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.delete_snapshot_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the DeleteSnapshot RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn delete_snapshot_with_options(
        &self,
        request: DeleteSnapshotRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::DeleteSnapshotResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_DELETE_SNAPSHOT_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the GetHostInfo RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/GetHostInfo.
    pub async fn get_host_info(
        &self,
        request: GetHostInfoRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::GetHostInfoResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.get_host_info_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the GetHostInfo RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn get_host_info_with_options(
        &self,
        request: GetHostInfoRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::GetHostInfoResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_GET_HOST_INFO_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the Sync RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/Sync.
    pub async fn sync(
        &self,
        request: SyncRequest,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::SyncResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.sync_with_options(request, ::connectrpc::client::CallOptions::default())
            .await
    }
    /// Call the Sync RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn sync_with_options(
        &self,
        request: SyncRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::UnaryResponse<
            ::buffa::view::OwnedView<__buffa::view::SyncResponseView<'static>>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_unary(
                &self.transport,
                &self.config,
                HOST_AGENT_SYNC_SPEC.with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
    /// Call the WatchEvents RPC. Sends a request to /wrenn.hostagent.v1.HostAgent/WatchEvents.
    pub async fn watch_events(
        &self,
        request: WatchEventsRequest,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::WatchEventsResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        self.watch_events_with_options(
                request,
                ::connectrpc::client::CallOptions::default(),
            )
            .await
    }
    /// Call the WatchEvents RPC with explicit per-call options. Options override [`ClientConfig`](::connectrpc::client::ClientConfig) defaults.
    pub async fn watch_events_with_options(
        &self,
        request: WatchEventsRequest,
        options: ::connectrpc::client::CallOptions,
    ) -> Result<
        ::connectrpc::client::ServerStream<
            T::ResponseBody,
            __buffa::view::WatchEventsResponseView<'static>,
        >,
        ::connectrpc::ConnectError,
    > {
        ::connectrpc::client::call_server_stream(
                &self.transport,
                &self.config,
                HOST_AGENT_WATCH_EVENTS_SPEC
                    .with_origin(::connectrpc::SpecOrigin::Client),
                request,
                options,
            )
            .await
    }
}
