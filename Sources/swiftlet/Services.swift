import Monitor

/// The RPC services that `swiftlet run` offers to every applet.
func makeServices() -> Server {
  let server = Server()
  server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
  return server
}
