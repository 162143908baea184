/// Call 4: takes bytes of requests, each of which is answered when it is complete.
@inline(never)
func rpcRequest(_ context: ExecCtx) throws(ExecError) {
  try context.takeRequests()
}

/// Call 5: returns bytes of responses.
@inline(never)
func rpcResponse(_ context: ExecCtx) throws(ExecError) {
  try context.flush(errno: nil)
}
