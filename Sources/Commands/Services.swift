import Control
import JSON
import Monitor
import Supervisor

extension ExecCtx {
  /// Offers the RPC services of `swiftlet run`: RPC.Echo, and those of other programs. It connects to them, which the sandbox does
  /// not allow.
  func offerServices(of arguments: RunArguments) {
    makeServer = makeEchoServer
    for service in arguments.services {
      // The context and its server keep each other: both are there until the process ends.
      let remote = RemoteService(service, limit: rpcLimit) { self.mustStopWaiting() }
      // It has a name.
      try? server.forward(service.name) { (method: String, parameter: JSONValue) throws(RPCError) -> JSONValue in
        try remote.call(method, parameter)
      }
    }
  }
}

private func makeEchoServer() -> Server {
  let server = Server()
  // It has a name.
  try? server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
  return server
}
