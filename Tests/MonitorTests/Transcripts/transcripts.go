// Makes rpc.txt: what Go's own net/rpc/jsonrpc server answers. To make it anew, with Go 1.24 or later:
//
//	go run transcripts.go >rpc.txt
//
// Each transcript is a paragraph. A line "> bytes" is one write of the client's, "< bytes" one response, "!" the end of the
// connection. Bytes beyond printable ASCII, and %, are written %XX.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"runtime"
	"strings"
)

type RPC struct{}

func (RPC) Echo(in string, out *string) error         { *out = in; return nil }
func (RPC) Twice(in int64, out *int64) error          { *out = in * 2; return nil }
func (RPC) Half(in float64, out *float64) error       { *out = in / 2; return nil }
func (RPC) Not(in bool, out *bool) error              { *out = !in; return nil }
func (RPC) Words(in []string, out *[]string) error    { *out = in; return nil }
func (RPC) Nested(in [][]int64, out *[][]int64) error { *out = in; return nil }
func (RPC) Given(in []*string, out *[]bool) error {
	*out = []bool{}
	for _, text := range in {
		*out = append(*out, text != nil)
	}
	return nil
}
func (RPC) Unsigned(in uint64, out *uint64) error               { *out = in; return nil }
func (RPC) Same(in json.RawMessage, out *json.RawMessage) error { *out = in; return nil }
func (RPC) Fail(in string, out *string) error                   { return errors.New(in) }

type connection struct {
	writes []string
	out    strings.Builder
}

func (c *connection) Read(p []byte) (int, error) {
	if len(c.writes) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.writes[0])
	if c.writes[0] = c.writes[0][n:]; c.writes[0] == "" {
		c.writes = c.writes[1:]
	}
	return n, nil
}
func (c *connection) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *connection) Close() error                { return nil }

func show(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x20 || c >= 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func transcript(writes ...string) {
	server := rpc.NewServer()
	server.Register(RPC{})
	c := &connection{writes: writes}
	codec := jsonrpc.NewServerCodec(c)
	for _, w := range writes {
		fmt.Println("> " + show(w))
	}
	for {
		err := server.ServeRequest(codec)
		for _, line := range strings.SplitAfter(c.out.String(), "\n") {
			if line != "" {
				fmt.Println("< " + show(line))
			}
		}
		c.out.Reset()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil && strings.HasPrefix(err.Error(), "rpc: server cannot decode request: ") {
			fmt.Println("!")
			break
		}
	}
	fmt.Println()
}

func call(method, param string) {
	transcript(`{"method":"` + method + `","params":[` + param + `],"id":1}` + "\n")
}

func main() {
	fmt.Printf("# Made by transcripts.go with %s.\n\n", runtime.Version())
	hello := `{"method":"RPC.Echo","params":["hello"],"id":0}` + "\n"
	transcript(hello)
	// Batched, split, both.
	transcript(hello + strings.Replace(hello, `"id":0`, `"id":1`, 1))
	transcript(hello[:20], hello[20:])
	transcript(strings.Split(hello, "")...)
	transcript(hello+hello[:10], hello[10:]+hello[:30], hello[30:])
	transcript(strings.Repeat(strings.TrimSpace(hello), 3))
	transcript(" \t\r\n ", hello)

	for _, id := range []string{"1", "-0", "1.50", "1E400", "123456789012345678901234567890", `"a b"`, `"<\u003c&>"`,
		`"\u0041\/\ud800"`, "\"\xff\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\"", "null", "true", `{ "x" : [ 1 , { } ] }`, "[]", `[ ]`} {
		transcript(`{"id": ` + id + ` ,"method":"RPC.Echo","params":["x"]}`)
	}
	for _, text := range []string{
		`{"method":"RPC.None","params":[1],"id":3}`,
		`{"method":"Other.Echo","params":[1],"id":3}`,
		`{"method":"RPC.Echo.More","params":[1],"id":3}`,
		`{"method":"Echo","params":[1],"id":3}`,
		`{"method":"","params":[1],"id":3}`,
		`{"method":".","params":[1],"id":3}`,
		`{"method":"RPC.","params":[1],"id":3}`,
		`{"method":".Echo","params":[1],"id":3}`,
		`{"method":"RPC.echo","params":["x"],"id":3}`,
		`{"method":"<\"RPC\ud800\u00e9>.Echo","params":["x"],"id":3}`,
		"{\"method\":\"\xffRPC.Echo\",\"params\":[\"x\"],\"id\":3}",
		`{"method":"RPC\u002eEcho","params":["x"],"id":3}`,
		`{"method":"RPC.Echo","id":3}`,
		`{"method":"RPC.Echo","params":null,"id":3}`,
		`{"method":"RPC.Echo","params":[],"id":3}`,
		`{"method":"RPC.Echo","params":[null],"id":3}`,
		`{"method":"RPC.Echo","params":["a","b"],"id":3}`,
		`{"method":"RPC.Echo","params":{},"id":3}`,
		`{"method":"RPC.Echo","params":{"a":1},"id":3}`,
		`{"method":"RPC.Echo","params":"x","id":3}`,
		`{"method":"RPC.Echo","params":5,"id":3}`,
		`{"method":"RPC.Echo","params":true,"id":3}`,
		`{"params":["x"],"id":3}`,
		`{"id":3}`, `{}`, `{"a":{"method":"RPC.Echo"}}`,
		`{"METHOD":"RPC.Echo","Params":["x"],"ID":3}`,
		`{"\u006dethod":"RPC.Echo","par\u0061ms":["x"],"i\u0064":3}`,
		`{"method":"A.B","method":"RPC.Echo","params":[1],"params":["x"],"id":3,"id":4}`,
		`{"method":"RPC.Echo","method":null,"params":["x"],"id":3}`,
		`{"method":"RPC.Echo","params":["x"],"params":null,"id":3}`,
		`{"method":"RPC.Echo","params":["x"],"id":3,"id":null}`,
		`{"method":"RPC.Echo","more":[{"deep":["er"]}],"params":["x"],"id":3,"jsonrpc":"2.0"}`,
		` { "method" : "RPC.Echo" , "params" : [ "x" , 1 ] , "id" : 3 } `,
		// No requests.
		`{"method":5,"params":["x"],"id":3}`, `{"method":{},"id":3}`, `{"method":[],"id":3}`, `{"method":true,"id":3}`,
		"null ", "true ", "5 ", `"x" `, "[] ", `["RPC.Echo"]`,
		// No JSON.
		"x", "}", "]", ",", ":", "{]", "{,", "{1", `{"a"]`, `{"a",`, `{"a":}`, `{"a":1,}`, `{"a":1 2`, `[1,]`, `[,`, `[1 2`, `[1}`,
		`{"a":tru}`, `{"a":nul `, `{"a":falsey`, `{"a":01`, `{"a":-}`, `{"a":+1`, `{"a":.5`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`,
		`{"a":0x1`, `{"a":NaN`, `{"a":"\x`, `{"a":"\u12g`, "{\"a\":\"\n", "{\"a\":\"\x00", "{\"a\":\"\x1f", "\x00", "\xff", "\xef\xbb\xbf{}",
		`{'a'`, `{a:`, "{\"a\":1}\x0b", "{} x",
	} {
		transcript(text)
	}
	for _, param := range []string{`""`, `"<a href=\"x\">&</a>"`, "\"\u2028\u2029\u202a é ü 中 😀\"", `"\u2028\u2029\u00e9\ud83d\ude00"`,
		`"\"\\\/\b\f\n\r\t\u0000\u0001\u001f\u007f"`, `"\ud800"`, `"\udc00x"`, `"\ud800\ud800\udc00"`, `"\ud800\u0041"`, `"\ud83d\n"`,
		"\"\xff\xfe\"", "\"\xc0\x80\"", "\"\xe2\x80\"", "\"\xe2\x80x\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf0\x9f\x98\"", "\"\xc3\"",
		"\"\xc3\xa9\"", `"\u003c"`, `"a\u0000b"`, "\"\x7f\"", "5", "1.5", "true", "null", "[]", "{}", `["x"]`} {
		call("RPC.Echo", param)
	}
	for _, param := range []string{"0", "-0", "21", "-21", "4611686018427387903", "-4611686018427387904", "9223372036854775807",
		"9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1.0", "1e2", "1E400", "-0.0", `"1"`, "null", "true", "[]", "{}"} {
		call("RPC.Twice", param)
	}
	for _, param := range []string{"0", "18446744073709551615", "18446744073709551616", "-1", "-0"} {
		call("RPC.Unsigned", param)
	}
	for _, param := range []string{"0", "-0", "-0.0", "1", "6", "0.2", "1e1", "1e21", "2e21", "4e21", "1.9999999999999999e21", "1e22", "123456789e20", "2e-6", "1.9e-6", "2e-7", "1e-9", "1e-10", "1e-100",
		"10e-324", "1.7976931348623157e308", "1e308", "123456789.125", "3.3333333333333335", "200000000000000000000", "-246.5", "9007199254740993",
		"0.1e1", "100", "1e20", "5e-324", "1e309", "-1e309", "1e999999999999", "0e999999999999", "1e-999999999999", `"1"`, "null", "false", "{}"} {
		call("RPC.Half", param)
	}
	for _, param := range []string{"true", "false", "null", "0", `"true"`} {
		call("RPC.Not", param)
	}
	for _, param := range []string{`["a"]`, `["a","b<"]`, `[null]`, `["a",5,true]`, `"a"`, "{}", "5"} {
		call("RPC.Words", param)
	}
	for _, param := range []string{`[[1,2],[3]]`, `[[1,"x"]]`, `[5]`} {
		call("RPC.Nested", param)
	}
	for _, param := range []string{`["x",null]`, `[5]`, "null"} {
		call("RPC.Given", param)
	}
	for _, param := range []string{`{ "b" : [ 1.50 , true , null ] , "a" : { } , "b" : "\u0041<" }`, `123456789012345678901234567890`, "[ [ ] , { } ]",
		"\"\xff \\\" <\"", "null"} {
		call("RPC.Same", param)
	}
	for _, param := range []string{`"no such key"`, `"it \"failed\" <&> \u2028"`, `"é"`} {
		call("RPC.Fail", param)
	}
	transcript(`{"method":"RPC.Fail","params":["no"],"id":1}`+hello, hello)
	transcript(hello+"x"+hello, hello)
	transcript(`{"a":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `,"method":"RPC.Echo","params":["x"],"id":1}`)
}
