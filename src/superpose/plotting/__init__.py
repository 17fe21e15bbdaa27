"""Pictures of networks, edges and fits. Nothing else imports matplotlib, and this does so only when it draws."""

from superpose.plotting.attention import plot_attention as plot_attention
from superpose.plotting.attention import plot_head_distances as plot_head_distances
from superpose.plotting.charts import plot_history as plot_history
from superpose.plotting.charts import plot_scores as plot_scores
from superpose.plotting.depth import plot_variance as plot_variance
from superpose.plotting.edge import plot_edge as plot_edge
from superpose.plotting.front import plot_front as plot_front
from superpose.plotting.kernels import plot_kernels as plot_kernels
from superpose.plotting.network import plot as plot
from superpose.plotting.rationals import plot_rationals as plot_rationals
from superpose.plotting.reconstructions import plot_reconstructions as plot_reconstructions
