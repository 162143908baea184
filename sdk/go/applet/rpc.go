package applet

import (
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"runtime"
	"sync"
)

// stream passes the bytes of JSON-RPC to the monitor and back.
type stream struct{}

func (stream) Read(bytes []byte) (int, error) {
	if len(bytes) == 0 {
		return 0, nil
	}
	for {
		count := callWithBytes(callRPCResponse, bytes)
		if count < 0 {
			return 0, io.EOF
		}
		if count > 0 {
			return int(count), nil
		}
		// The goroutine that sends the request may not have done so yet.
		runtime.Gosched()
		Yield()
	}
}

func (stream) Write(bytes []byte) (int, error) {
	callWithBytes(callRPCRequest, bytes)
	return len(bytes), nil
}

func (stream) Close() error { return nil }

// A client continues to read after its last response, which would block forever; so each call has a client of its own.
var calling sync.Mutex

// CallRPC calls a method of the monitor, like "RPC.Echo", or of a service, and waits for its result.
func CallRPC(method string, parameter, result any) error {
	calling.Lock()
	defer calling.Unlock()
	return rpc.NewClientWithCodec(&codec{ClientCodec: jsonrpc.NewClientCodec(stream{})}).Call(method, parameter, result)
}

// codec ends after one response.
type codec struct {
	rpc.ClientCodec
	isDone bool
}

func (c *codec) ReadResponseHeader(response *rpc.Response) error {
	if c.isDone {
		return io.EOF
	}
	c.isDone = true
	return c.ClientCodec.ReadResponseHeader(response)
}
