-- Sixteen requests in one write, as wrk sends them when it is told nothing else.

local DEPTH = 16

function init(args)
   batch = string.rep(wrk.format(nil), DEPTH)
end

function request()
   return batch
end
