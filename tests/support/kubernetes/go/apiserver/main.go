// A kube-apiserver that ends with the process that started it.
package main

import (
	"io"
	"os"
	_ "time/tzdata" // time zones of CronJobs are known on every machine

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	go endWithInput()
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}

// endWithInput waits for the end of the standard input: its other end closes however the starting process ends, even when it is killed.
func endWithInput() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}
