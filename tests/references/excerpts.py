"""Contains excerpts of programs that the TPU compiler writes (libtpu 0.0.42, v4), reduced to what the reader needs."""

CONVOLUTIONS = """HloModule m, is_scheduled=true

ENTRY %main (p0: bf16[2048,256,4], p1: bf16[1024,4,256]) -> f32[2048,1024,4] {
  %p0 = bf16[2048,256,4]{1,0,2:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[1024,256,1]{1,0,2:T(8,128)(2,1)S(1)} parameter(1)
  %p2 = bf16[2048,1536]{1,0:T(8,128)(2,1)} parameter(2)
  %p3 = bf16[1536,6144]{1,0:T(8,128)(2,1)} parameter(3)
  %heads = f32[2048,1024,4]{1,0,2:T(8,128)} convolution(%p0, %p1), window={size=1}, dim_labels=bf0_oi0->bf0
  ROOT %plain = bf16[2048,6144]{1,0:T(8,128)(2,1)} convolution(%p2, %p3), dim_labels=bf_io->bf
}
"""

BATCHED = """HloModule m, is_scheduled=true

ENTRY %main (p0: bf16[2048,256,4], p1: bf16[1024,256,4]) -> f32[2048,1024,4] {
  %p0 = bf16[2048,256,4]{1,0,2:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[1024,4,256]{2,1,0:T(8,128)(2,1)} parameter(1)
  %p2 = bf16[2048,4,256]{2,1,0:T(8,128)(2,1)} parameter(2)
  %p3 = bf16[256,4,512]{2,1,0:T(8,128)(2,1)} parameter(3)
  %spread = f32[2048,1024,4]{1,0,2:T(8,128)} convolution(%p0, %p1), window={size=4 stride=3 pad=3_3 lhs_dilate=4 rhs_reversal=1}, dim_labels=bf0_o0i->bf0
  ROOT %joined = f32[2048,512,1]{1,0,2:T(8,128)} convolution(%p2, %p3), window={size=4}, dim_labels=b0f_i0o->bf0
}
"""  # noqa: E501

WINDOWED = """HloModule m, is_scheduled=true

%condition (c: (u32[], bf16[8,128])) -> pred[] {
  %six = u32[]{:T(128)} constant(6)
  %c = (u32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = u32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %goes_on = pred[]{:T(512)} compare(%i, %six), direction=LT, metadata={op_name="a(b" stack_frame_id=1}
}

%body (b: (u32[], bf16[8,128])) -> (u32[], bf16[8,128]) {
  %b = (u32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %x = bf16[8,128]{1,0:T(8,128)(2,1)} get-tuple-element(%b), index=1
  %start = (bf16[8,128]{1,0:T(8,128)(2,1)}, bf16[8,128]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x), channel_id=1, source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %two = u32[]{:T(128)} constant(2)
  %at = u32[]{:T(128)} get-tuple-element(%b), index=0
  %product = bf16[8,8]{1,0:T(8,128)(2,1)S(1)} fusion(%x), kind=kOutput, calls=%products, backend_config={"window_config":{"estimated_cycles":"1000","cost_model_type":"COST_MODEL_TYPE_CLASSIC"}}
  %next = u32[]{:T(128)} add(%at, %two)
  %done = bf16[8,128]{1,0:T(8,128)(2,1)} collective-permute-done(%start)
  ROOT %new = (u32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) tuple(%next, %done)
}

%products (f: bf16[8,128]) -> bf16[8,8] {
  %f = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %p = bf16[8,8]{1,0:T(8,128)(2,1)S(1)} convolution(%f, %f), dim_labels=bf_oi->bf
}

ENTRY %main (p: bf16[8,128]) -> bf16[8,128] {
  %p = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = u32[]{:T(128)} constant(0)
  %copied = u32[]{:T(128)} copy(%zero)
  %tuple = (u32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) tuple(%copied, %p)
  %while = (u32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) while(%tuple), condition=%condition, body=%body
  ROOT %left = bf16[8,128]{1,0:T(8,128)(2,1)} get-tuple-element(%while), index=1
}
"""  # noqa: E501
"""A matrix product whose operand is passed around a ring meanwhile, in three iterations of two steps each."""

BETWEEN_PODS = """HloModule m, is_scheduled=true

ENTRY %main (p: f32[1000,1000]) -> f32[1000,1000] {
  %p = f32[1000,1000]{1,0} parameter(0)
  %after = token[] after-all()
  %send = (f32[1000,1000]{1,0}, u32[], token[]) send(%p, %after), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="psum.1_0",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv = (f32[1000,1000]{1,0}, u32[], token[]) recv(%after), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="psum.1_0"}
  %twice = f32[1000,1000]{1,0} add(%p, %p)
  %recv_done = (f32[1000,1000]{1,0}, token[]) recv-done(%recv), channel_id=1, is_host_transfer=true
  %send_done = token[] send-done(%send), channel_id=2, is_host_transfer=true
  %other = f32[1000,1000]{1,0} get-tuple-element(%recv_done), index=0
  ROOT %sum = f32[1000,1000]{1,0} add(%twice, %other)
}
"""  # noqa: E501

IN_A_FUSION = """HloModule m, is_scheduled=true

%starting (a: bf16[72,128]) -> (bf16[72,128], bf16[288,128], u32[]) {
  %a = bf16[72,128]{1,0} parameter(0)
  %gather = bf16[288,128]{1,0} all-gather(%a), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}, use_global_device_ids=true
  ROOT %started = (bf16[72,128]{1,0}, bf16[288,128]{1,0}, u32[]{:S(2)}) custom-call(%a, %gather), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (b: bf16[72,128], c: bf16[288,128], d: bf16[512,512]) -> (bf16[512,512], bf16[288,128]) {
  %b = bf16[72,128]{1,0} parameter(0)
  %c = bf16[288,128]{1,0} parameter(1)
  %d = bf16[512,512]{1,0} parameter(2)
  %gather.1 = bf16[288,128]{1,0} all-gather(%b), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}, use_global_device_ids=true
  %product = bf16[512,512]{1,0} convolution(%d, %d), dim_labels=bf_io->bf
  ROOT %both = (bf16[512,512]{1,0}, bf16[288,128]{1,0}) tuple(%product, %gather.1)
}

%finishing (e: bf16[288,128]) -> bf16[288,128] {
  %e = bf16[288,128]{1,0} parameter(0)
  ROOT %finished = bf16[288,128]{1,0} custom-call(%e), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (p: bf16[72,128], q: bf16[512,512]) -> bf16[288,128] {
  %p = bf16[72,128]{1,0} parameter(0)
  %q = bf16[512,512]{1,0} parameter(1)
  %async-collective-start.7 = (bf16[72,128]{1,0}, bf16[288,128]{1,0}, u32[]{:S(2)}) fusion(%p), kind=kCustom, calls=%starting
  %part = bf16[72,128]{1,0} get-tuple-element(%async-collective-start.7), index=0
  %whole = bf16[288,128]{1,0} get-tuple-element(%async-collective-start.7), index=1
  %fused = (bf16[512,512]{1,0}, bf16[288,128]{1,0}) fusion(%part, %whole, %q), kind=kOutput, calls=%async_collective_fusion.1
  %whole.1 = bf16[288,128]{1,0} get-tuple-element(%fused), index=1
  ROOT %async-collective-done.7 = bf16[288,128]{1,0} fusion(%whole.1), kind=kCustom, calls=%finishing
}
"""  # noqa: E501
"""An all-gather that overlaps with a matrix product."""

SPLASH = """HloModule m, is_scheduled=true

ENTRY %main (next: s8[1,4,4], mask: s8[1,4,4], q: bf16[2,8,2048,256], k: bf16[2,1,2048,256], d: f32[2,8,1,2048]) -> bf16[2,8,2048,256] {
  %next = s8[1,4,4]{2,1,0:T(4,128)(4,1)} parameter(0)
  %mask = s8[1,4,4]{2,1,0:T(4,128)(4,1)} parameter(1)
  %q = bf16[2,8,2048,256]{3,2,1,0:T(8,128)(2,1)} parameter(2)
  %k = bf16[2,1,2048,256]{3,2,1,0:T(8,128)(2,1)} parameter(3)
  %d = f32[2,8,1,2048]{3,2,1,0:T(8,128)} parameter(4)
  %splash_mha_fwd_residuals.2 = (f32[2,512,128]{2,1,0:T(8,128)}, bf16[2,8,2048,256]{3,2,1,0:T(8,128)(2,1)S(3)}) custom-call(%next, %mask, %q, %k, %k), custom_call_target="tpu_custom_call", operand_layout_constraints={s8[1,4,4]{2,1,0}, s8[1,4,4]{2,1,0}, bf16[2,8,2048,256]{3,2,1,0}}, frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512, \\"block_kv\\": 512, \\"q_layout\\": 1}"
}}, metadata={op_name="jit(step)/splash_mha_fwd_residuals/pallas_call" stack_frame_id=610}, backend_config={"flag_configs":[],"custom_call_config":{"body":"TUzvUgFNTElS","needs_layout_passes":true}}
  %output = bf16[2,8,2048,256]{3,2,1,0:T(8,128)(2,1)S(3)} get-tuple-element(%splash_mha_fwd_residuals.2), index=1, frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512}"
}}, metadata={op_name="jit(step)/splash_mha_fwd_residuals/pallas_call" stack_frame_id=610}
  %splash_mha_dq_no_residuals.1 = (f32[2,512,256]{2,1,0:T(8,128)}, bf16[2,8,2048,256]{3,2,1,0:T(8,128)(2,1)S(3)}) custom-call(%next, %mask, %q, %k, %k, /*index=5*/%d), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUgFNTElS"}}
  %splash_mha_dkv_no_residuals.1 = (f32[2,512,256]{2,1,0:T(8,128)}, bf16[2,1,2048,256]{3,2,1,0:T(8,128)(2,1)S(3)}) custom-call(%next, %mask, %q, %k, %k, /*index=5*/%d), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUgFNTElS"}}
  ROOT %left = bf16[2,8,2048,256]{3,2,1,0:T(8,128)(2,1)} copy(%output)
}
"""  # noqa: E501
"""The attention kernels, forward and backward: of four blocks of 512 positions causal attention visits 10 pairs."""
