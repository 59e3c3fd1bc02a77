// An etcd that ends with the process that started it, and then removes the folder TEMPORARY_FOLDER.
package main

import (
	"io"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	go endWithInput()
	etcdmain.Main(os.Args)
}

// endWithInput waits for the end of the standard input: its other end closes however the starting process ends, even when it is killed.
func endWithInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	// The API server ends at the same moment, and may still put files into the folder.
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		if os.RemoveAll(os.Getenv("TEMPORARY_FOLDER")) == nil {
			break
		}
	}
	os.Exit(1)
}
