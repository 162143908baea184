// What the package gives to Go's standard library.
package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"swiftlet/applet"
)

func main() {
	fmt.Println("arguments", len(os.Args), strings.Join(os.Args[1:], ","))
	counts := map[string]int{}
	scanner := bufio.NewScanner(applet.Stdin)
	for scanner.Scan() {
		for _, word := range strings.Fields(scanner.Text()) {
			counts[word]++
		}
	}
	fmt.Println("words", counts)
	fmt.Printf("root %.6f\n", math.Sqrt(2))
	bytes := make([]byte, 32)
	_, err := rand.Read(bytes)
	fmt.Println("random", err == nil && string(bytes) != string(make([]byte, 32)))

	begin := time.Now()
	done := make(chan int)
	for i := range 10 {
		go func() {
			time.Sleep(time.Duration(i) * time.Millisecond)
			done <- i
		}()
	}
	sum := 0
	for range 10 {
		sum += <-done
	}
	fmt.Println("goroutines", sum, time.Since(begin) >= 9*time.Millisecond)

	for round := range 3 {
		var result string
		err := applet.CallRPC("RPC.Echo", fmt.Sprint("hello ", round), &result)
		fmt.Println("rpc", result, err)
	}
	fmt.Println("no such method", applet.CallRPC("No.Such", 1, nil) != nil)
	kept := make([][]byte, 0)
	for i := range 200 {
		kept = append(kept, make([]byte, 100000))
		kept[len(kept)-1][i] = byte(i)
		if len(kept) > 50 {
			kept = kept[:0]
			runtime.GC()
		}
	}
	fmt.Println("heap", len(kept) > 0)
	if len(os.Args) > 2 {
		panic("as requested")
	}
	os.Exit(5)
}
