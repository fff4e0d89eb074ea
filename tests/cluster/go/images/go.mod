module wisp.local/cluster/images

go 1.26.0
