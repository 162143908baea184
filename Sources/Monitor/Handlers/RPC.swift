import AppletABI

/// Call 4: bytes of requests, which are answered as they become whole.
func rpcRequest(_ context: ExecCtx) throws(ExecError) {
  try context.takeRequests()
}

/// Call 5: bytes of responses.
func rpcResponse(_ context: ExecCtx) throws(ExecError) {
  try context.flush(errno: nil)
}
